//! DynamoDB: the tables' capacity, transactions that exclude each other, and the retries of this project and
//! of the SDK, around the store in memory.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
};

use crate::{
    limits,
    meter::{Rate, Usage},
};

/// A table, or the index of the orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    Orders,
    OrdersByUser,
    Tickets,
    Payments,
    Buyers,
}

impl Table {
    const ALL: [Self; 5] =
        [Self::Orders, Self::OrdersByUser, Self::Tickets, Self::Payments, Self::Buyers];
}

/// An item, by the hash of its key.
pub(crate) type Item = (Table, u64);

/// The item with this key.
pub(crate) fn item(table: Table, key: impl Hash) -> Item {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    (table, hasher.finish())
}

/// The state of DynamoDB.
pub(crate) struct Dynamo {
    tables: Vec<Capacity>,
    in_use: HashMap<Item, u32>,
    /// Time in which no call gets a response, from the start.
    pub(crate) hangs_ms: Range<u64>,
    pub(crate) transactions: u64,
    pub(crate) conflicts: u64,
    pub(crate) throttled: u64,
    /// Transactions of each ticket, also without effect.
    pub(crate) of_ticket: HashMap<u64, u32>,
}

/// Capacity of a table: of each partition, and of all together.
struct Capacity {
    reads: Rate,
    writes: Rate,
    partitions: Vec<(Rate, Rate)>,
}

impl Capacity {
    /// A table with so many write units. Its partitions carry as much, and three times as many reads.
    /// Burst capacity is not counted: AWS does not guarantee it.
    fn new(writes: f64) -> Self {
        let mut partitions = Vec::new();
        while f64::from(u32::try_from(partitions.len()).unwrap_or(u32::MAX))
            * limits::PARTITION_WRITES
            < writes
        {
            let reads = Rate::new(limits::PARTITION_READS);
            partitions.push((reads, Rate::new(limits::PARTITION_WRITES)));
        }
        let reads = writes * limits::PARTITION_READS / limits::PARTITION_WRITES;
        Self { reads: Rate::new(reads), writes: Rate::new(writes), partitions }
    }

    fn partition(&mut self, key: u64) -> &mut (Rate, Rate) {
        let count = self.partitions.len() as u64;
        let index = usize::try_from(key % count).unwrap_or_default();
        &mut self.partitions[index]
    }
}

impl Dynamo {
    pub(crate) fn new(table_writes: f64) -> Self {
        Self {
            tables: Table::ALL.iter().map(|_| Capacity::new(table_writes)).collect(),
            in_use: HashMap::new(),
            hangs_ms: 0..0,
            transactions: 0,
            conflicts: 0,
            throttled: 0,
            of_ticket: HashMap::new(),
        }
    }

    /// Number of partitions of the orders table, and of shards of its stream.
    pub(crate) fn partitions(&self) -> usize {
        self.tables[Table::Orders as usize].partitions.len()
    }

    /// Whether the capacity allows a read.
    pub(crate) fn read(&mut self, (table, key): Item, units: f64, now_ms: u64) -> bool {
        let capacity = &mut self.tables[table as usize];
        if !capacity.reads.try_take(units, now_ms) {
            self.throttled += 1;
            return false;
        }
        let allowed = capacity.partition(key).0.try_take(units, now_ms);
        self.throttled += u64::from(!allowed);
        allowed
    }

    /// Whether the capacity allows these writes, all or none.
    pub(crate) fn write(&mut self, writes: &[(Item, f64)], now_ms: u64) -> bool {
        for &((table, key), units) in writes {
            let capacity = &mut self.tables[table as usize];
            if !capacity.writes.has(units, now_ms) {
                capacity.writes.refuse(now_ms);
                self.throttled += 1;
                return false;
            }
            let writes = &mut capacity.partition(key).1;
            if !writes.has(units, now_ms) {
                writes.refuse(now_ms);
                self.throttled += 1;
                return false;
            }
        }
        for &((table, key), units) in writes {
            let capacity = &mut self.tables[table as usize];
            capacity.writes.take(units, now_ms);
            capacity.partition(key).1.take(units, now_ms);
        }
        true
    }

    /// Whether another transaction uses the item.
    pub(crate) fn is_in_use(&self, item: &Item) -> bool {
        self.in_use.contains_key(item)
    }

    pub(crate) fn use_item(&mut self, item: Item) {
        *self.in_use.entry(item).or_default() += 1;
    }

    pub(crate) fn leave_item(&mut self, item: Item) {
        if let Some(count) = self.in_use.get_mut(&item) {
            *count -= 1;
            if *count == 0 {
                self.in_use.remove(&item);
            }
        }
    }

    /// Units written and read by all tables.
    pub(crate) fn units(&self) -> (f64, f64) {
        let sum = |total: fn(&Capacity) -> f64| self.tables.iter().map(total).sum();
        (sum(|table| table.writes.total), sum(|table| table.reads.total))
    }

    /// Use of the tables and of their hottest partitions.
    pub(crate) fn usage(&self) -> Vec<Usage> {
        let mut usage = Vec::new();
        for (table, capacity) in Table::ALL.iter().zip(&self.tables) {
            usage.push(capacity.writes.usage(format!("{table:?} table, writes")));
            usage.push(capacity.reads.usage(format!("{table:?} table, reads")));
            let hottest = |side: fn(&(Rate, Rate)) -> &Rate, name: &str| {
                let all = capacity.partitions.iter().map(|both| side(both).usage(name));
                all.max_by(|one, other| {
                    (one.refused, one.peak)
                        .partial_cmp(&(other.refused, other.peak))
                        .unwrap_or(std::cmp::Ordering::Equal)
                })
            };
            usage.extend(hottest(|both| &both.1, &format!("{table:?} hottest partition, writes")));
            usage.extend(hottest(|both| &both.0, &format!("{table:?} hottest partition, reads")));
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_table_has_four_partitions_and_an_item_a_quarter_of_the_writes() {
        let mut dynamo = Dynamo::new(limits::NEW_TABLE_WRITES);
        assert_eq!(dynamo.partitions(), 4);
        let ticket = item(Table::Tickets, "t1");
        // In ten seconds: one full bucket, and 1,000 units a second, 2 for each transaction.
        let done = (0..10_000).filter(|at| dynamo.write(&[(ticket, 2.0)], *at)).count();
        assert!((5_400..=5_500).contains(&done), "{done}");
        let read = (20_000..30_000).flat_map(|at| [at; 5]);
        let done = read.filter(|at| dynamo.read(ticket, 1.0, *at)).count();
        assert!((32_900..=33_000).contains(&done), "{done}");
    }

    #[test]
    fn transaction_takes_capacity_of_all_its_items_or_of_none() {
        let mut dynamo = Dynamo::new(limits::NEW_TABLE_WRITES);
        let (one, two) = (item(Table::Tickets, "t1"), item(Table::Buyers, "b1"));
        assert!(dynamo.write(&[(two, 1_000.0)], 0));
        assert!(!dynamo.write(&[(one, 2.0), (two, 2.0)], 0));
        assert!((dynamo.units().0 - 1_000.0).abs() < 1e-9);
    }
}
