//! Records in a file: how one is framed, and how whole ones are found again in a file that is not.
//!
//! A frame is magic (4 bytes), length (u32), seq (u64), crc32 of length, seq and payload (u32), payload; numbers are
//! little-endian. The magic begins and ends with bytes that UTF-8 never has, so the JSON of a payload can never look
//! like the start of a frame.

/// The start of every frame.
pub(super) const MAGIC: [u8; 4] = [0xF7, b'R', b'H', 0xFB];

/// Bytes of a frame before its payload.
pub(super) const HEADER: usize = 20;

/// The longest payload that a reader believes in; writers stay far below ([`super::Options`]).
const PAYLOAD_LIMIT: usize = 16 << 20;

/// The highest number that a reader believes in. No writer lives to reach it; and after the last number that there is, nothing could be
/// written that a restart would find.
const NUMBER_LIMIT: u64 = 1 << 62;

/// How many bytes may be summed for each byte of a file. Whole frames need 1; a hostile file of nothing but magics
/// would else cost the square of its length.
const EFFORT: usize = 16;

/// Appends one frame. A payload beyond 4 GiB would make a frame that no reader takes; callers bound it long before.
pub(super) fn push(out: &mut Vec<u8>, seq: u64, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.reserve(HEADER + payload.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(&sum(length, seq, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

fn sum(length: u32, seq: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(&seq.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// What a reader meets, in the order of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A whole frame.
    Frame {
        /// Its number.
        seq: u64,
        /// What it carries.
        payload: &'a [u8],
    },
    /// Bytes between whole frames, or after the last.
    Bad {
        /// How many.
        length: usize,
        /// Whether the file ends with them.
        tail: bool,
    },
}

/// Reads the frames of a file, past whatever is broken.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    effort: usize,
}

impl<'a> Scan<'a> {
    /// Starts at the first byte.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, effort: bytes.len().saturating_mul(EFFORT) }
    }

    /// The whole frame at an offset, if there is one: its number, its payload, and where it ends.
    fn frame(&mut self, at: usize) -> Option<(u64, &'a [u8], usize)> {
        let (magic, rest) = self.bytes.get(at..)?.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let (length, seq) = (u32::from_le_bytes(*length), u64::from_le_bytes(*seq));
        let size = usize::try_from(length).ok()?;
        if *magic != MAGIC || seq > NUMBER_LIMIT || size > PAYLOAD_LIMIT || size > self.effort {
            return None;
        }
        let payload = rest.get(..size)?;
        self.effort -= size;
        (sum(length, seq, payload) == u32::from_le_bytes(*crc)).then_some((seq, payload, at + HEADER + size))
    }

    /// Where the next whole frame begins, from an offset on.
    fn resync(&mut self, mut from: usize) -> Option<usize> {
        loop {
            let rest = self.bytes.get(from..)?;
            let at = from + rest.windows(MAGIC.len()).position(|window| window == MAGIC)?;
            if self.frame(at).is_some() {
                return Some(at);
            }
            from = at + 1;
        }
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        if self.at >= self.bytes.len() {
            return None;
        }
        if let Some((seq, payload, end)) = self.frame(self.at) {
            self.at = end;
            return Some(Found::Frame { seq, payload });
        }
        let start = self.at;
        let next = self.resync(start + 1);
        self.at = next.unwrap_or(self.bytes.len());
        Some(Found::Bad { length: self.at - start, tail: next.is_none() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(payloads: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (seq, payload) in (1..).zip(payloads) {
            push(&mut bytes, seq, payload);
        }
        bytes
    }

    #[test]
    fn a_broken_frame_costs_only_itself() {
        let bytes = file(&[b"one", b"two", b"three"]);
        for bit in (HEADER + 3) * 8..(HEADER + 3) * 2 * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found: Vec<_> = Scan::new(&bytes).collect();
            assert_eq!(
                found,
                [
                    Found::Frame { seq: 1, payload: b"one" },
                    Found::Bad { length: HEADER + 3, tail: false },
                    Found::Frame { seq: 3, payload: b"three" },
                ],
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_number_that_leaves_none_for_what_comes_after_it_is_no_frame() {
        let of = |number| {
            let mut bytes = Vec::new();
            push(&mut bytes, number, b"one");
            bytes
        };
        assert_eq!(Scan::new(&of(u64::MAX)).next(), Some(Found::Bad { length: HEADER + 3, tail: true }));
        assert!(matches!(Scan::new(&of(NUMBER_LIMIT)).next(), Some(Found::Frame { .. })));
    }

    #[test]
    fn an_unfinished_frame_is_a_tail() {
        let bytes = file(&[b"one", b"two"]);
        for cut in 1..HEADER + 3 {
            let found: Vec<_> = Scan::new(&bytes[..bytes.len() - cut]).collect();
            assert_eq!(found[1], Found::Bad { length: HEADER + 3 - cut, tail: true });
        }
    }

    #[test]
    fn a_file_of_nothing_but_starts_is_read_in_time_that_grows_with_its_length() {
        let mut bytes = Vec::new();
        while bytes.len() < 4 << 20 {
            bytes.extend_from_slice(&MAGIC);
            bytes.extend_from_slice(&(1_u32 << 20).to_le_bytes());
        }
        let mut scan = Scan::new(&bytes);
        assert_eq!(scan.next(), Some(Found::Bad { length: bytes.len(), tail: true }));
        assert!(scan.effort < 1 << 20, "the effort is spent, not exceeded: {}", scan.effort);
    }
}
