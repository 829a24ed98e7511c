//! Messages of D-Bus, as far as this agent needs them (D-Bus Specification 0.43, "Message Protocol"): little-endian, a
//! header of known fields, a body of texts, numbers and one file descriptor.

use std::io;

/// The longest message that is read, in bytes. What comes to us is a reply of a few words or a signal.
const LIMIT: usize = 64 * 1024;
/// The part of a message that says how long the rest is.
pub(super) const HEAD: usize = 16;

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;
const UNIX_FDS: u8 = 9;

/// A call of a method. All its arguments are texts.
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) arguments: &'a [&'a str],
}

impl Call<'_> {
    /// The bytes of the message. `serial` is never 0.
    pub(super) fn encode(&self, serial: u32) -> Vec<u8> {
        let mut body = Vec::new();
        for argument in self.arguments {
            text(&mut body, argument);
        }
        let mut fields = Vec::new();
        field(&mut fields, PATH, "o", self.path);
        field(&mut fields, INTERFACE, "s", self.interface);
        field(&mut fields, MEMBER, "s", self.member);
        field(&mut fields, DESTINATION, "s", self.destination);
        if !self.arguments.is_empty() {
            pad(&mut fields, 8);
            fields.extend_from_slice(&[SIGNATURE, 1, b'g', 0]);
            signature(&mut fields, &"s".repeat(self.arguments.len()));
        }
        let mut message = vec![b'l', METHOD_CALL, 0, 1];
        number(&mut message, length(&body));
        number(&mut message, serial);
        // The fields begin at a multiple of 8, as they do in `fields` itself.
        number(&mut message, length(&fields));
        message.extend_from_slice(&fields);
        pad(&mut message, 8);
        message.extend_from_slice(&body);
        message
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn number(bytes: &mut Vec<u8>, number: u32) {
    pad(bytes, 4);
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    number(bytes, length(text.as_bytes()));
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
}

fn signature(bytes: &mut Vec<u8>, signature: &str) {
    bytes.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(signature.as_bytes());
    bytes.push(0);
}

fn field(fields: &mut Vec<u8>, code: u8, kind: &str, value: &str) {
    pad(fields, 8);
    fields.push(code);
    signature(fields, kind);
    text(fields, value);
}

/// How many bytes a message has after its head.
///
/// # Errors
/// If this is no message, or one that is too long.
pub(super) fn rest(head: &[u8; HEAD]) -> io::Result<usize> {
    if head[0] != b'l' || head[3] != 1 {
        return Err(wrong("a message of another byte order or version"));
    }
    let mut head = Reader { bytes: head, at: 4 };
    let body = head.number()? as usize;
    let _serial = head.number()?;
    let fields = head.number()? as usize;
    let rest = fields.next_multiple_of(8).saturating_add(body);
    if rest > LIMIT { Err(wrong("a message that is too long")) } else { Ok(rest) }
}

/// A message that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// How many file descriptors came with it.
    pub(super) fds: u32,
    body: Vec<u8>,
}

/// What a message is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The answer to the call with this serial.
    Return { to: u32 },
    /// The refusal of the call with this serial.
    Error {
        to: u32,
        /// Such as `org.freedesktop.DBus.Error.AccessDenied`.
        name: String,
    },
    /// Something has happened.
    Signal { interface: String, member: String },
    /// Not for us.
    Other,
}

impl Message {
    /// Reads a message: its head, and the rest.
    ///
    /// # Errors
    /// If it is not one.
    pub(super) fn decode(head: &[u8; HEAD], rest: &[u8]) -> io::Result<Self> {
        let bytes = [&head[..], rest].concat();
        let mut fields = Reader { bytes: &bytes, at: 12 };
        let end = HEAD.saturating_add(fields.number()? as usize);
        let (mut interface, mut member, mut name, mut to, mut fds) = (None, None, None, None, 0);
        while fields.at < end {
            fields.align(8)?;
            let code = fields.byte()?;
            match fields.signature()?.as_str() {
                "s" | "o" => {
                    let text = fields.text()?;
                    match code {
                        INTERFACE => interface = Some(text),
                        MEMBER => member = Some(text),
                        ERROR_NAME => name = Some(text),
                        _ => {}
                    }
                }
                "u" => {
                    let number = fields.number()?;
                    match code {
                        REPLY_SERIAL => to = Some(number),
                        UNIX_FDS => fds = number,
                        _ => {}
                    }
                }
                "g" => {
                    fields.signature()?;
                }
                // The specification says to ignore fields that are not known; one of another type has a length that we
                // do not know.
                _ => return Err(wrong("a message with a field that cannot be read")),
            }
        }
        let kind = match (head[1], to) {
            (METHOD_RETURN, Some(to)) => Kind::Return { to },
            (ERROR, Some(to)) => Kind::Error { to, name: name.unwrap_or_default() },
            (SIGNAL, _) => {
                Kind::Signal { interface: interface.unwrap_or_default(), member: member.unwrap_or_default() }
            }
            _ => Kind::Other,
        };
        let body = bytes.get(end.next_multiple_of(8)..).unwrap_or_default().to_vec();
        Ok(Self { kind, fds, body })
    }

    /// The body as one boolean.
    pub(super) fn boolean(&self) -> Option<bool> {
        Some(self.reader().number().ok()? != 0)
    }

    /// The body's first text: that of an error says what is wrong.
    pub(super) fn text(&self) -> Option<String> {
        self.reader().text().ok()
    }

    /// The body as a variant that holds one 64-bit number.
    pub(super) fn variant_number(&self) -> Option<u64> {
        let mut body = self.reader();
        (body.signature().ok()? == "t").then_some(())?;
        body.align(8).ok()?;
        Some(u64::from_le_bytes(body.take(8).ok()?.try_into().ok()?))
    }

    fn reader(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0 }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let end = self.at.saturating_add(count);
        let taken = self.bytes.get(self.at..end).ok_or_else(|| wrong("a message that is cut short"))?;
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) -> io::Result<()> {
        let gap = self.at.next_multiple_of(to) - self.at;
        self.take(gap).map(|_padding| ())
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> io::Result<u32> {
        self.align(4)?;
        let bytes = self.take(4)?.try_into().map_err(|_length| wrong("a message that is cut short"))?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn text(&mut self) -> io::Result<String> {
        let length = self.number()? as usize;
        self.ended(length)
    }

    fn signature(&mut self) -> io::Result<String> {
        let length = usize::from(self.byte()?);
        self.ended(length)
    }

    /// So many bytes of text, and the zero behind them.
    fn ended(&mut self, length: usize) -> io::Result<String> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.byte()?;
        Ok(text)
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
