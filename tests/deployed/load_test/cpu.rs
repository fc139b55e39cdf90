//! Whose CPU time it was, on this machine (proc(5), `/proc/pid/stat`).

use std::{collections::HashMap, fs};

use orders_tests::stack::stack;

/// CPU time, in hundredths of a second, which is what the kernel counts in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// The emulator: gateway, tables, queues, bus and scheduler.
    pub(crate) emulator: u64,
    /// The functions, which the emulator starts; those that have ended as well.
    pub(crate) functions: u64,
    /// This program: all buyers.
    pub(crate) buyers: u64,
}

struct Process {
    parent: u32,
    used: u64,
    used_by_ended_children: u64,
}

impl Cpu {
    /// What has been used until now.
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

    /// What has been used since then.
    pub(crate) fn since(self, before: &Self) -> Self {
        Self {
            emulator: self.emulator - before.emulator,
            functions: self.functions - before.functions,
            buyers: self.buyers - before.buyers,
        }
    }
}

fn processes() -> HashMap<u32, Process> {
    let entries = fs::read_dir("/proc").expect("this is Linux").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, Process::read(pid)?))).collect()
}

impl Process {
    /// The process, unless it has ended meanwhile.
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before it may hold anything, spaces and parentheses too.
        let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            used: number(11)? + number(12)?,
            used_by_ended_children: number(13)? + number(14)?,
        })
    }
}
