//! Merging of sorted files (k-way merge): `O(n log k)` in the number of rows and of inputs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;

use arrow_array::RecordBatch;

use super::parquet_file::{Batches, ParquetFile};

/// Rows of an input with their keys, in ascending order of the keys.
pub(super) type Rows<K, R> = Box<dyn Iterator<Item = io::Result<(K, R)>>>;

/// Reads all rows of a file, batch by batch.
pub(super) fn rows<K: 'static, R: 'static>(
    file: &ParquetFile,
    convert: impl Fn(&RecordBatch) -> io::Result<Vec<(K, R)>> + 'static,
) -> io::Result<Rows<K, R>> {
    Ok(rows_of(file.batches(|_| true, None)?, convert))
}

/// Converts batches of rows.
pub(super) fn rows_of<K: 'static, R: 'static>(
    batches: Batches,
    convert: impl Fn(&RecordBatch) -> io::Result<Vec<(K, R)>> + 'static,
) -> Rows<K, R> {
    Box::new(batches.flat_map(move |batch| {
        let rows = batch.and_then(|batch| convert(&batch));
        let (rows, error) = match rows {
            Ok(rows) => (rows, None),
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        rows.into_iter().map(Ok).chain(error)
    }))
}

/// Calls `emit` with the rows of all inputs in ascending order of their keys; rows with the same key
/// in the order of the inputs.
pub(super) fn merge<K: Ord + Clone, R>(
    mut inputs: Vec<Rows<K, R>>,
    mut emit: impl FnMut(K, usize, R) -> io::Result<()>,
) -> io::Result<()> {
    let mut heads: Vec<Option<R>> = Vec::new();
    let mut order = BinaryHeap::new();
    for (input, rows) in inputs.iter_mut().enumerate() {
        let head = rows.next().transpose()?;
        heads.push(head.map(|(key, row)| {
            order.push(Reverse((key, input)));
            row
        }));
    }
    while let Some(Reverse((key, input))) = order.pop() {
        let row = heads[input].take();
        if let Some((next, row)) = inputs[input].next().transpose()? {
            heads[input] = Some(row);
            order.push(Reverse((next, input)));
        }
        if let Some(row) = row {
            emit(key, input, row)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_come_in_the_order_of_the_inputs() {
        let input = |rows: &[(i32, &'static str)]| -> Rows<i32, &'static str> {
            let rows: Vec<_> = rows.iter().copied().map(Ok).collect();
            Box::new(rows.into_iter())
        };
        let inputs = vec![
            input(&[(1, "a"), (3, "b"), (3, "c")]),
            input(&[]),
            input(&[(2, "d"), (3, "e")]),
        ];
        let mut found = Vec::new();
        merge(inputs, |key, input, row| {
            found.push((key, input, row));
            Ok(())
        })
        .unwrap();
        let wanted = [
            (1, 0, "a"),
            (2, 2, "d"),
            (3, 0, "b"),
            (3, 0, "c"),
            (3, 2, "e"),
        ];
        assert_eq!(found, wanted);
        let failing: Rows<i32, &str> = Box::new([Err(io::Error::other("disk"))].into_iter());
        assert!(merge(vec![failing], |_, _, _| Ok(())).is_err());
    }
}
