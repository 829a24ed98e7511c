//! The last lines of a game: bounded in lines and bytes, and cleaned only when somebody wants them.

use std::collections::VecDeque;
use std::fmt;

use super::lines::{PIECE_LIMIT, Piece};
use crate::io::game::redact::{Redactor, readable};

/// Bytes of all lines together. A report has room for far less.
const BYTES: usize = 256 * 1024;

/// Stands for a part of a line whose beginning is not there any more.
const CUT: &str = "[…]";

/// The last lines.
pub(super) struct Tail {
    kept: VecDeque<Kept>,
    bytes: usize,
    limit: usize,
}

struct Kept {
    /// Standard output or standard error: pieces of their lines may lie among each other.
    stream: usize,
    bytes: Box<[u8]>,
    first: bool,
    last: bool,
}

impl fmt::Debug for Tail {
    /// Without the lines, which may hold secrets of the game.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").field("kept", &self.kept.len()).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Tail {
    /// Keeps so many lines.
    pub(super) fn new(limit: usize) -> Self {
        Self { kept: VecDeque::new(), bytes: 0, limit }
    }

    /// Takes the next piece of a stream, 0 or 1.
    pub(super) fn push(&mut self, stream: usize, piece: Piece<'_>) {
        if self.limit == 0 {
            return;
        }
        self.bytes += piece.bytes.len();
        self.kept.push_back(Kept { stream, bytes: piece.bytes.into(), first: piece.first, last: piece.last });
        while self.kept.len() > self.limit || self.bytes > BYTES {
            let Some(gone) = self.kept.pop_front() else { break };
            self.bytes -= gone.bytes.len();
        }
    }

    /// The lines, oldest first, readable and without what looks like a secret, or is one of `known`.
    pub(super) fn lines(&self, known: &[&str]) -> Vec<String> {
        // A secret may go across the cut of a long line: its pieces are put together first.
        let mut open: [Option<Line>; 2] = [None, None];
        let mut redactors = [Redactor::new(), Redactor::new()];
        let mut out = VecDeque::new();
        for kept in &self.kept {
            let (Some(open), Some(redactor)) = (open.get_mut(kept.stream), redactors.get_mut(kept.stream)) else {
                continue;
            };
            let line = open.get_or_insert_with(|| Line { whole: kept.first, bytes: Vec::new() });
            line.bytes.extend_from_slice(&kept.bytes);
            if kept.last
                && let Some(line) = open.take()
            {
                finish(&line, redactor, known, &mut out);
            }
        }
        for (line, redactor) in open.into_iter().zip(&mut redactors) {
            if let Some(line) = line {
                finish(&line, redactor, known, &mut out);
            }
        }
        while out.len() > self.limit {
            out.pop_front();
        }
        out.into()
    }
}

/// A line that is put together.
struct Line {
    /// Its beginning is there.
    whole: bool,
    bytes: Vec<u8>,
}

/// Cleans a line and puts it out, in pieces where it is long. What is left of one without its beginning may begin with the
/// end of a secret.
fn finish(line: &Line, redactor: &mut Redactor, known: &[&str], out: &mut VecDeque<String>) {
    let mut text = readable(&line.bytes);
    if !line.whole {
        let word = text.find(char::is_whitespace).unwrap_or(text.len());
        text.replace_range(..word, CUT);
    }
    let mut text = redactor.line(&text);
    for known in known.iter().filter(|known| !known.is_empty()) {
        text = text.replace(known, "[redacted]");
    }
    let mut rest = text.as_str();
    while rest.len() > PIECE_LIMIT {
        let at = (0..=PIECE_LIMIT).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or_default();
        let (piece, after) = rest.split_at(at);
        out.push_back(piece.to_owned());
        rest = after;
    }
    out.push_back(rest.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &[u8]) -> Piece<'_> {
        Piece { bytes: text, first: true, last: true }
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut tail = Tail::new(3);
        for line in ["1", "2", "3", "4\r", ""] {
            tail.push(0, whole(line.as_bytes()));
        }
        assert_eq!(tail.lines(&[]), ["3", "4", ""]);
        let mut none = Tail::new(0);
        none.push(0, whole(b"x"));
        assert_eq!(none.lines(&[]), Vec::<String>::new());
    }

    #[test]
    fn bytes_are_bounded_however_many_lines_are_wanted() {
        let mut tail = Tail::new(1000);
        let line = vec![b'x'; PIECE_LIMIT];
        for _ in 0..1000 {
            tail.push(0, whole(&line));
        }
        assert!(tail.bytes <= BYTES && tail.kept.len() == BYTES / PIECE_LIMIT, "{tail:?}");
    }

    #[test]
    fn secrets_do_not_slip_through_the_cut_of_a_long_line() {
        let mut tail = Tail::new(10);
        tail.push(0, Piece { bytes: b"begin password=S3", first: true, last: false });
        tail.push(1, whole(b"another stream"));
        tail.push(0, Piece { bytes: b"CRET end", first: false, last: true });
        assert_eq!(tail.lines(&[]), ["another stream", "begin password=[redacted] end"]);

        // The piece that said what it is has gone.
        let mut tail = Tail::new(2);
        tail.push(0, Piece { bytes: b"password=S3", first: true, last: false });
        tail.push(0, Piece { bytes: b"CRET", first: false, last: false });
        tail.push(0, Piece { bytes: b"S3CRET and more", first: false, last: true });
        assert_eq!(tail.lines(&[]), ["[…] and more"]);
        tail.push(0, whole(b"next"));
        tail.push(0, Piece { bytes: b"unfinished token=S3CRET", first: true, last: false });
        assert_eq!(tail.lines(&[]), ["next", "unfinished token=[redacted]"]);
    }

    #[test]
    fn known_secrets_go_wherever_they_stand() {
        let mut tail = Tail::new(2);
        tail.push(0, whole(b"got S3CRETS3CRET."));
        assert_eq!(tail.lines(&["S3CRET", ""]), ["got [redacted][redacted]."]);
        assert!(!format!("{tail:?}").contains("S3CRET"));
    }

    #[test]
    fn a_long_line_stays_in_pieces() {
        let mut tail = Tail::new(10);
        let piece = "ä".repeat(PIECE_LIMIT / 2);
        tail.push(0, Piece { bytes: piece.as_bytes(), first: true, last: false });
        tail.push(0, Piece { bytes: "äx".as_bytes(), first: false, last: true });
        assert_eq!(tail.lines(&[]), [piece, "äx".to_owned()]);
    }
}
