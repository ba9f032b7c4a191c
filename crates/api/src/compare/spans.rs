//! Spans, counted column by column.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;

use model::{Tenant, TimeRange};
use store::{Batch, Column, Field, Order, Predicate, Reader, Scan, StoreError, Table};

use super::Inside;
use super::tally::Tallies;
use crate::answer::Failure;

/// Counts on this thread what another one reads.
pub(super) fn count(
    reader: &dyn Reader,
    tenant: Tenant,
    range: TimeRange,
    predicate: Predicate,
    inside: &Inside,
    cancelled: &AtomicBool,
) -> Result<Tallies<u64>, Failure> {
    let fields = [Field::Time, Field::Duration, Field::Name, Field::Kind, Field::StatusCode];
    let projection = fields.map(Column::Field).into_iter().chain([Column::Attributes(None)]).collect();
    let scan = Scan { tenant, table: Table::Spans, range, predicate, projection, order: Order::Any, limit: None };
    let mut tallies = Tallies::default();
    std::thread::scope(|threads| {
        let (sender, batches) = sync_channel::<Result<Batch, StoreError>>(2);
        threads.spawn(move || match reader.scan(&scan) {
            Ok(stream) => {
                for batch in stream {
                    // Nobody listens any more: the other side has failed or was cancelled.
                    if sender.send(batch).is_err() {
                        break;
                    }
                }
            }
            Err(e) => drop(sender.send(Err(e))),
        });
        for batch in batches {
            if cancelled.load(Ordering::Relaxed) {
                return Err(Failure::Cancelled);
            }
            let batch = batch?;
            let is_inside: Vec<bool> = (0..batch.rows())
                .map(|row| inside.has(batch.int(row, Field::Time).unwrap_or(0), batch.int(row, Field::Duration).unwrap_or(0)))
                .collect();
            tallies.add(&batch, &is_inside);
        }
        Ok(tallies)
    })
}
