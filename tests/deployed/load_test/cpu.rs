//! CPU time by process group, on this machine (proc(5), `/proc/pid/stat`).

use std::{collections::HashMap, fs};

use orders_tests::stack::stack;

/// CPU time in clock ticks of 10 ms.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// The emulator: gateway, tables, queues, bus and scheduler.
    pub(crate) emulator: u64,
    /// The functions, children of the emulator, including ended ones.
    pub(crate) functions: u64,
    /// This process: all buyers.
    pub(crate) buyers: u64,
}

struct Process {
    parent: u32,
    used: u64,
    used_by_ended_children: u64,
}

impl Cpu {
    /// Returns the CPU time used so far.
    pub(crate) fn now() -> Self {
        let processes = processes();
        let emulator = stack().emulator_pid();
        let of = |pid| processes.get(&pid).map_or(0, |process: &Process| process.used);
        let children = processes.values().filter(|process| process.parent == emulator);
        let ended = processes.get(&emulator).map_or(0, |it| it.used_by_ended_children);
        Self {
            emulator: of(emulator),
            functions: children.map(|process| process.used).sum::<u64>() + ended,
            buyers: of(std::process::id()),
        }
    }

    /// Returns the CPU time used since an earlier reading.
    pub(crate) fn since(self, before: &Self) -> Self {
        Self {
            emulator: self.emulator - before.emulator,
            functions: self.functions - before.functions,
            buyers: self.buyers - before.buyers,
        }
    }
}

fn processes() -> HashMap<u32, Process> {
    let entries = fs::read_dir("/proc").expect("a /proc file system").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, Process::read(pid)?))).collect()
}

impl Process {
    /// Reads a process. Returns `None` if the process has ended.
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before the fields can contain spaces and parentheses.
        let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            used: number(11)? + number(12)?,
            used_by_ended_children: number(13)? + number(14)?,
        })
    }
}
