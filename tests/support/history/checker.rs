//! stub
use super::History;
/// x
#[derive(Debug)]
pub struct Contradiction(String);
impl std::fmt::Display for Contradiction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
/// x
pub fn explain(_h: &History) -> Result<(), Contradiction> {
    Ok(())
}
