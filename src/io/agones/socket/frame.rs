//! The frames of a WebSocket (RFC 6455, 5): ours written, a client's read.

/// The most that a client may send in one message, in bytes. We want nothing of it.
const MESSAGE_LIMIT: u64 = 64 * 1024;
/// The most data of a control frame, in bytes.
const CONTROL_LIMIT: usize = 125;
/// Close codes (RFC 6455, 7.4.1).
const PROTOCOL_ERROR: u16 = 1002;
const TOO_BIG: u16 = 1009;

/// What a frame of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    /// A message.
    Text = 0x1,
    /// The end.
    Close = 0x8,
    /// The answer to a ping.
    Pong = 0xA,
}

/// A whole frame, as a server sends it.
pub(super) fn frame(opcode: Opcode, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode as u8];
    match (u8::try_from(data.len()), u16::try_from(data.len())) {
        (Ok(short @ 0..=125), _) => frame.push(short),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(127);
            frame.extend_from_slice(&(data.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(data);
    frame
}

/// What a client sent that wants an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Arrived {
    /// To be answered by a pong with the same data.
    Ping(Vec<u8>),
    /// The end, by the client or because of what it sent; to be answered by a close with this code.
    Close(Option<u16>),
}

/// Reads a client's frames from whatever pieces they come in.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// A head, or the data of a control frame, that has not come whole yet.
    held: Vec<u8>,
    /// The control frame that the data is of.
    control: Option<Control>,
    /// Bytes of a message that are still to be thrown away.
    skip: u64,
    /// Bytes of the message so far, while it is not whole.
    message: Option<u64>,
    /// A close has come: nothing after it counts.
    over: bool,
}

#[derive(Debug, Clone, Copy)]
struct Control {
    opcode: u8,
    length: usize,
    mask: [u8; 4],
}

/// A head, taken apart.
#[derive(Debug, Clone, Copy)]
struct Head {
    is_last: bool,
    opcode: u8,
    length: u64,
    mask: [u8; 4],
}

impl Reader {
    /// Takes what it can from the bytes; `None` once they are used up, and for ever after a close.
    pub(super) fn take(&mut self, bytes: &mut &[u8]) -> Option<Arrived> {
        let arrived = if self.over { None } else { self.next(bytes) };
        self.over |= matches!(arrived, Some(Arrived::Close(_)));
        arrived
    }

    fn next(&mut self, bytes: &mut &[u8]) -> Option<Arrived> {
        loop {
            if self.skip > 0 {
                let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                *bytes = bytes.get(skipped..).unwrap_or_default();
                self.skip -= skipped as u64;
                if self.skip > 0 {
                    return None;
                }
            }
            if let Some(control) = self.control {
                while self.held.len() < control.length {
                    self.held.push(shift(bytes)?);
                }
                self.control = None;
                if let Some(arrived) = control.arrived(std::mem::take(&mut self.held)) {
                    return Some(arrived);
                }
                continue;
            }
            let head = match self.head(bytes)? {
                Ok(head) => head,
                Err(code) => return Some(Arrived::Close(Some(code))),
            };
            if let Err(code) = self.begin(head) {
                return Some(Arrived::Close(Some(code)));
            }
        }
    }

    /// The next head, once it is whole.
    fn head(&mut self, bytes: &mut &[u8]) -> Option<Result<Head, u16>> {
        loop {
            if let [first, second, rest @ ..] = self.held.as_slice() {
                // No extension was agreed on, and a client masks what it sends.
                if first & 0x70 != 0 || second & 0x80 == 0 {
                    return Some(Err(PROTOCOL_ERROR));
                }
                let (length, mask) = match (second & 0x7F, rest) {
                    (126, [a, b, mask @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), mask),
                    (127, [a, b, c, d, e, f, g, h, mask @ ..]) => {
                        (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), mask)
                    }
                    (126 | 127, _) => (0, &[][..]),
                    (short, mask) => (u64::from(short), mask),
                };
                if let Ok(mask) = <[u8; 4]>::try_from(mask) {
                    let head = Head { is_last: first & 0x80 != 0, opcode: first & 0x0F, length, mask };
                    self.held.clear();
                    return Some(Ok(head));
                }
            }
            self.held.push(shift(bytes)?);
        }
    }

    /// A frame begins.
    fn begin(&mut self, head: Head) -> Result<(), u16> {
        let before = match (head.opcode, self.message) {
            (0x8..=0xA, _) => {
                let length = usize::try_from(head.length).ok().filter(|length| *length <= CONTROL_LIMIT);
                let Some(length) = length.filter(|_| head.is_last) else { return Err(PROTOCOL_ERROR) };
                self.control = Some(Control { opcode: head.opcode, length, mask: head.mask });
                return Ok(());
            }
            (0x0, Some(before)) => before,
            (0x1 | 0x2, None) => 0,
            _ => return Err(PROTOCOL_ERROR),
        };
        let whole = before.saturating_add(head.length);
        if whole > MESSAGE_LIMIT {
            return Err(TOO_BIG);
        }
        self.message = (!head.is_last).then_some(whole);
        self.skip = head.length;
        Ok(())
    }
}

impl Control {
    fn arrived(self, mut data: Vec<u8>) -> Option<Arrived> {
        for (byte, mask) in data.iter_mut().zip(self.mask.iter().cycle()) {
            *byte ^= mask;
        }
        match (self.opcode, data.as_slice()) {
            (0x9, _) => Some(Arrived::Ping(data)),
            (0x8, []) => Some(Arrived::Close(None)),
            (0x8, [high, low, ..]) => Some(Arrived::Close(Some(u16::from_be_bytes([*high, *low])))),
            (0x8, [_]) => Some(Arrived::Close(Some(PROTOCOL_ERROR))),
            // A pong that nobody asked for.
            _ => None,
        }
    }
}

fn shift(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

    /// A client's frame.
    fn sent(first: u8, data: &[u8]) -> Vec<u8> {
        let mut sent = vec![first];
        match data.len() {
            short @ 0..=125 => sent.push(0x80 | short as u8),
            length if length < 65536 => {
                sent.push(0x80 | 126);
                sent.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                sent.push(0x80 | 127);
                sent.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        sent.extend_from_slice(&MASK);
        sent.extend(data.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        sent
    }

    /// What arrives, whichever pieces the bytes come in.
    fn read(bytes: &[u8]) -> Vec<Arrived> {
        let mut seen = Vec::new();
        for size in [bytes.len().max(1), 1, 3, 7] {
            let mut reader = Reader::default();
            let mut arrived = Vec::new();
            for mut piece in bytes.chunks(size) {
                while let Some(one) = reader.take(&mut piece) {
                    arrived.push(one);
                }
            }
            seen.push(arrived);
        }
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
        seen.swap_remove(0)
    }

    #[test]
    fn our_frames_have_the_shortest_length_that_fits() {
        assert_eq!(frame(Opcode::Text, b"Hello"), [&[0x81, 5][..], b"Hello"].concat());
        assert_eq!(frame(Opcode::Text, &[b'x'; 125])[..2], [0x81, 125]);
        assert_eq!(frame(Opcode::Text, &[b'x'; 126])[..4], [0x81, 126, 0, 126]);
        assert_eq!(frame(Opcode::Text, &[b'x'; 65536])[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(frame(Opcode::Close, &1001_u16.to_be_bytes()), [0x88, 2, 3, 233]);
    }

    #[test]
    fn a_ping_is_heard_within_a_message_in_pieces() {
        let bytes = [
            sent(0x01, b"one "),
            sent(0x89, b"are you there"),
            sent(0x00, &[b'x'; 200]),
            sent(0x8A, b"nobody asked"),
            sent(0x80, b"three"),
            sent(0x82, b""),
            sent(0x89, b""),
            sent(0x88, &[3, 232, b'b', b'y', b'e']),
        ]
        .concat();
        assert_eq!(
            read(&bytes),
            [Arrived::Ping(b"are you there".to_vec()), Arrived::Ping(Vec::new()), Arrived::Close(Some(1000))]
        );
        assert_eq!(read(&sent(0x88, b"")), [Arrived::Close(None)]);
    }

    #[test]
    fn what_breaks_the_rules_ends_it() {
        let bad: [(&str, Vec<u8>, u16); 9] = [
            ("without a mask", vec![0x81, 1, b'x'], PROTOCOL_ERROR),
            ("an extension", sent(0xC1, b"x"), PROTOCOL_ERROR),
            ("a word that nobody knows", sent(0x83, b"x"), PROTOCOL_ERROR),
            ("goes on without a beginning", sent(0x80, b"x"), PROTOCOL_ERROR),
            ("begins twice", [sent(0x01, b"x"), sent(0x81, b"y")].concat(), PROTOCOL_ERROR),
            ("a ping in pieces", sent(0x09, b"x"), PROTOCOL_ERROR),
            ("a long ping", sent(0x89, &[0; 126]), PROTOCOL_ERROR),
            ("a close of one byte", sent(0x88, &[3]), PROTOCOL_ERROR),
            ("far too long", vec![0x82, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], TOO_BIG),
        ];
        for (what, bytes, code) in bad {
            assert_eq!(read(&bytes), [Arrived::Close(Some(code))], "{what}");
        }
        let pieces: Vec<u8> = (0..3).flat_map(|at| sent(if at == 0 { 0x02 } else { 0x00 }, &[0; 30_000])).collect();
        assert_eq!(read(&pieces), [Arrived::Close(Some(TOO_BIG))], "in pieces too");
        let whole = sent(0x82, &[0; 65_536]);
        assert_eq!(read(&[whole, sent(0x89, b"!")].concat()), [Arrived::Ping(b"!".to_vec())], "up to the limit");
    }
}
