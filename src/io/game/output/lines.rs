//! Lines out of bytes: pure.

/// The longest piece of a line, in bytes. Longer ones come in pieces of this length.
pub(super) const PIECE_LIMIT: usize = 8 * 1024;

/// A line, or a piece of a long one, without its line break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// Its bytes.
    pub(super) bytes: &'a [u8],
    /// It is the first of its line.
    pub(super) first: bool,
    /// It is the last of its line: a line break follows, or the end.
    pub(super) last: bool,
}

/// Cuts what is read into lines; holds what has no line break yet.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    held: Vec<u8>,
    /// A piece of the line that is being read has gone out already.
    within: bool,
}

impl Splitter {
    /// Takes bytes and gives every piece that they complete.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut give: impl FnMut(Piece<'_>)) {
        while !bytes.is_empty() {
            let room = PIECE_LIMIT - self.held.len();
            let window = bytes.get(..room).unwrap_or(bytes);
            // One more may be the line break of a line that just fits.
            let end = bytes.iter().take(room + 1).position(|byte| *byte == b'\n');
            match end {
                Some(end) => {
                    let (line, rest) = bytes.split_at(end);
                    self.give(line, true, &mut give);
                    bytes = rest.get(1..).unwrap_or_default();
                }
                None if bytes.len() > room => {
                    self.give(window, false, &mut give);
                    bytes = bytes.get(room..).unwrap_or_default();
                }
                None => {
                    self.held.extend_from_slice(bytes);
                    return;
                }
            }
        }
    }

    /// The end: gives what had no line break.
    pub(super) fn finish(&mut self, mut give: impl FnMut(Piece<'_>)) {
        if !self.held.is_empty() || self.within {
            self.give(&[], true, &mut give);
        }
    }

    fn give(&mut self, bytes: &[u8], last: bool, give: &mut impl FnMut(Piece<'_>)) {
        let first = !std::mem::replace(&mut self.within, !last);
        if self.held.is_empty() {
            give(Piece { bytes, first, last });
        } else {
            self.held.extend_from_slice(bytes);
            give(Piece { bytes: &self.held, first, last });
            self.held.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(reads: &[&[u8]]) -> Vec<(Vec<u8>, bool, bool)> {
        let mut splitter = Splitter::default();
        let mut out = Vec::new();
        let mut take = |piece: Piece<'_>| out.push((piece.bytes.to_vec(), piece.first, piece.last));
        for read in reads {
            splitter.feed(read, &mut take);
            assert!(splitter.held.len() <= PIECE_LIMIT);
        }
        splitter.finish(&mut take);
        out
    }

    #[test]
    fn lines_come_whole_however_they_are_read() {
        let whole = |text: &str| (text.as_bytes().to_vec(), true, true);
        let expected = vec![whole("one"), whole(""), whole("three"), whole("end")];
        assert_eq!(pieces(&[b"one\n\nthree\nend"]), expected);
        let single: Vec<&[u8]> = b"one\n\nthree\nend".chunks(1).collect();
        assert_eq!(pieces(&single), expected);
        assert_eq!(pieces(&[b"one\n"]), vec![whole("one")]);
        assert_eq!(pieces(&[]), vec![]);
    }

    #[test]
    fn a_long_line_comes_in_pieces() {
        let fits = vec![b'x'; PIECE_LIMIT];
        for text in [[&fits[..], b"\n"].concat(), fits.clone()] {
            assert_eq!(pieces(&[&text]), [(fits.clone(), true, true)]);
        }
        let long = [&fits[..], &fits, b"y\nz"].concat();
        let expected = vec![
            (fits.clone(), true, false),
            (fits, false, false),
            (b"y".to_vec(), false, true),
            (b"z".to_vec(), true, true),
        ];
        assert_eq!(pieces(&[&long]), expected);
        let small: Vec<&[u8]> = long.chunks(1000).collect();
        assert_eq!(pieces(&small), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn nothing_is_lost_or_added(
            lengths in prop::collection::vec(prop_oneof![0usize..5, 8190usize..8195, 0usize..20_000], 0..6),
            open_end: bool,
            size in 1usize..9000,
        ) {
            let mut text = Vec::new();
            for (index, length) in lengths.iter().enumerate() {
                text.extend(std::iter::repeat_n(b'a'.wrapping_add(u8::try_from(index).unwrap()), *length));
                text.push(b'\n');
            }
            if open_end {
                text.pop();
            }
            let reads: Vec<&[u8]> = text.chunks(size).collect();
            let mut again = Vec::new();
            for (bytes, _, last) in pieces(&reads) {
                prop_assert!(bytes.len() <= PIECE_LIMIT);
                again.extend(bytes);
                if last {
                    again.push(b'\n');
                }
            }
            if !text.is_empty() && !text.ends_with(b"\n") {
                text.push(b'\n');
            }
            prop_assert_eq!(again, text);
        }
    }
}
