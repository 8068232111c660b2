//! Several frames as one text, for connections that have asked for it.

use super::BATCH_MAX;

/// Text frames gathered into one JSON array, at most [`BATCH_MAX`] of them.
///
/// A client gets one only if it asked for batches (`?batch=1`): others parse one object per text.
#[derive(Debug, Default)]
pub struct Batch {
    text: Vec<u8>,
    count: usize,
}

impl Batch {
    /// How many frames it holds.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether it takes no more.
    pub fn is_full(&self) -> bool {
        self.count == BATCH_MAX
    }

    /// Adds the frame that `write` appends: one JSON object. `false`, and nothing is written, if the
    /// batch is full.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.is_full() {
            return false;
        }
        self.text.push(if self.count == 0 { b'[' } else { b',' });
        self.count += 1;
        write(&mut self.text);
        true
    }

    /// Appends the array to `out` and begins anew. `false` if there is nothing to send.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        if self.count == 0 {
            return false;
        }
        out.append(&mut self.text);
        out.push(b']');
        self.count = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_batch_is_an_array_of_at_most_64_frames() {
        let mut batch = Batch::default();
        let mut out = Vec::new();
        assert!(!batch.finish(&mut out));
        assert!(out.is_empty());
        for n in 0..BATCH_MAX {
            assert!(!batch.is_full());
            assert!(batch.push(|out| out.extend_from_slice(format!("{{\"n\":{n}}}").as_bytes())));
        }
        assert!(batch.is_full());
        assert!(!batch.push(|_| panic!("not asked to write")));
        assert!(batch.finish(&mut out));
        let array: Vec<Value> = serde_json::from_slice(&out).unwrap();
        assert_eq!((array.len(), batch.count()), (64, 0));
        assert_eq!(array[63], json!({"n": 63}));

        // It begins anew.
        out.clear();
        assert!(batch.push(|out| out.extend_from_slice(b"{}")));
        assert!(batch.finish(&mut out));
        assert_eq!(out, b"[{}]");
    }
}
