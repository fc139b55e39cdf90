//! The store in memory, where nothing is waited for.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

/// What a future gives that never waits: the store in memory has nothing to wait for.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => unreachable!("the store in memory never waits"),
    }
}
