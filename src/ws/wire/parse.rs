//! What a client's bytes say: WebSocket frames (RFC 6455 §5), unmasked, put together to messages and checked as they come.
//! Knows no socket.

/// A message, or a control frame, whole.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Text(String),
    Binary(Vec<u8>),
    /// To be answered by a pong with the same bytes.
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// With the code that is to be answered.
    Close(u16),
}

/// Why a connection is to be failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Protocol,
    NotUtf8,
    TooBig,
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const MAX_CONTROL: u64 = 125;
/// Two bytes, eight of a long length, four of the mask.
const MAX_HEADER: usize = 14;
/// RFC 6455 §7.1.5: a close without a code.
const NO_CODE: u16 = 1005;

/// Takes bytes in any pieces. Holds no memory between messages.
#[derive(Debug)]
pub struct Parser {
    max_message_bytes: usize,
    header: [u8; MAX_HEADER],
    header_len: usize,
    /// The frame whose payload is being read.
    frame: Option<Head>,
    /// What of a data message is there.
    message: Vec<u8>,
    /// Its kind, from its first frame to its last.
    kind: Option<u8>,
    /// Of a text, how much is known to be UTF-8.
    checked: usize,
    control: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    len: u64,
    read: u64,
}

impl Parser {
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            max_message_bytes,
            header: [0; MAX_HEADER],
            header_len: 0,
            frame: None,
            message: Vec::new(),
            kind: None,
            checked: 0,
            control: Vec::new(),
        }
    }

    /// Reads on; what it says is put into `said`, in order.
    ///
    /// # Errors
    /// [`Fault`]: nothing after it counts.
    pub fn read(&mut self, mut bytes: &[u8], said: &mut Vec<Said>) -> Result<(), Fault> {
        loop {
            let head = match self.frame {
                Some(head) => head,
                None => match self.read_header(&mut bytes)? {
                    Some(head) => head,
                    None => return Ok(()),
                },
            };
            let left = usize::try_from(head.len - head.read).unwrap_or(usize::MAX);
            let (payload, rest) = bytes.split_at(left.min(bytes.len()));
            bytes = rest;
            let read = head.read + payload.len() as u64;
            self.frame = Some(Head { read, ..head });
            self.take_payload(head, payload)?;
            if read < head.len {
                return Ok(());
            }
            self.frame = None;
            if let Some(whole) = self.end_frame(head)? {
                said.push(whole);
            }
        }
    }

    fn read_header(&mut self, bytes: &mut &[u8]) -> Result<Option<Head>, Fault> {
        loop {
            let needed = match self.header_len {
                0 | 1 => 2,
                _ => {
                    2 + 4
                        + match self.header[1] & 0x7f {
                            126 => 2,
                            127 => 8,
                            _ => 0,
                        }
                }
            };
            if self.header_len >= needed && self.header_len > 2 {
                break;
            }
            let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
            self.header[self.header_len] = *first;
            self.header_len += 1;
            *bytes = rest;
            if self.header_len == 2 {
                self.check_start()?;
            }
        }
        let (bytes, lengths) = (&self.header[..self.header_len], self.header_len - 6);
        let len = match lengths {
            0 => u64::from(bytes[1] & 0x7f),
            _ => bytes[2..2 + lengths].iter().fold(0, |len, byte| len << 8 | u64::from(*byte)),
        };
        // The highest bit of a long length is 0 (RFC 6455 §5.2).
        if len > u64::MAX >> 1 {
            return Err(Fault::Protocol);
        }
        let mut mask = [0; 4];
        mask.copy_from_slice(&bytes[2 + lengths..]);
        let head = Head { fin: bytes[0] & 0x80 != 0, opcode: bytes[0] & 0x0f, mask, len, read: 0 };
        self.header_len = 0;
        let is_data = head.opcode < CLOSE;
        if is_data && len.saturating_add(self.message.len() as u64) > self.max_message_bytes as u64 {
            return Err(Fault::TooBig);
        }
        if is_data && head.opcode != CONTINUATION {
            self.kind = Some(head.opcode);
        }
        self.frame = Some(head);
        Ok(Some(head))
    }

    /// The first two bytes tell most of what can be wrong.
    fn check_start(&self) -> Result<(), Fault> {
        let (fin, opcode) = (self.header[0] & 0x80 != 0, self.header[0] & 0x0f);
        let (masked, len) = (self.header[1] & 0x80 != 0, u64::from(self.header[1] & 0x7f));
        // No extension was agreed on, and clients must mask.
        if self.header[0] & 0x70 != 0 || !masked {
            return Err(Fault::Protocol);
        }
        let allowed = match opcode {
            CONTINUATION => self.kind.is_some(),
            TEXT | BINARY => self.kind.is_none(),
            CLOSE | PING | PONG => fin && len <= MAX_CONTROL,
            _ => false,
        };
        if allowed { Ok(()) } else { Err(Fault::Protocol) }
    }

    fn take_payload(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let start = usize::try_from(head.read % 4).unwrap_or(0);
        let unmasked = payload.iter().enumerate().map(|(n, byte)| byte ^ head.mask[(start + n) % 4]);
        if head.opcode >= CLOSE {
            self.control.extend(unmasked);
            return Ok(());
        }
        self.message.extend(unmasked);
        if self.kind == Some(TEXT) {
            match std::str::from_utf8(&self.message[self.checked..]) {
                Ok(_) => self.checked = self.message.len(),
                // The last character may go on in the next piece.
                Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
                Err(_) => return Err(Fault::NotUtf8),
            }
        }
        Ok(())
    }

    fn end_frame(&mut self, head: Head) -> Result<Option<Said>, Fault> {
        match head.opcode {
            PING => Ok(Some(Said::Ping(std::mem::take(&mut self.control)))),
            PONG => Ok(Some(Said::Pong(std::mem::take(&mut self.control)))),
            CLOSE => close_code(&std::mem::take(&mut self.control)).map(|code| Some(Said::Close(code))),
            _ if !head.fin => Ok(None),
            _ => {
                let (message, kind) = (std::mem::take(&mut self.message), self.kind.take());
                self.checked = 0;
                if kind == Some(TEXT) {
                    return String::from_utf8(message).map(|text| Some(Said::Text(text))).map_err(|_| Fault::NotUtf8);
                }
                Ok(Some(Said::Binary(message)))
            }
        }
    }
}

/// RFC 6455 §7.4: which codes may be sent, and that the reason is UTF-8.
fn close_code(payload: &[u8]) -> Result<u16, Fault> {
    let Some((code, reason)) = payload.split_at_checked(2) else {
        return if payload.is_empty() { Ok(NO_CODE) } else { Err(Fault::Protocol) };
    };
    let code = u16::from_be_bytes([code[0], code[1]]);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Fault::Protocol);
    }
    std::str::from_utf8(reason).map_err(|_| Fault::NotUtf8)?;
    Ok(code)
}

/// The header of a frame that a server sends: whole, and not masked.
pub fn header(opcode: Opcode, len: usize) -> ([u8; 10], usize) {
    let mut header = [0; 10];
    header[0] = 0x80 | opcode as u8;
    match len {
        0..=125 => {
            header[1] = u8::try_from(len).unwrap_or(0);
            (header, 2)
        }
        126..=0xffff => {
            header[1] = 126;
            header[2..4].copy_from_slice(&u16::try_from(len).unwrap_or(0).to_be_bytes());
            (header, 4)
        }
        _ => {
            header[1] = 127;
            header[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            (header, 10)
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    Text = TEXT,
    Binary = BINARY,
    Close = CLOSE,
    Ping = PING,
    Pong = PONG,
}

/// A whole frame of a control word, or a small message.
pub fn encode(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let (header, len) = header(opcode, payload.len());
    [&header[..len], payload].concat()
}

/// A close frame: at most 123 bytes of the reason.
pub fn encode_close(code: u16, reason: &str) -> Vec<u8> {
    if code == NO_CODE {
        return encode(Opcode::Close, &[]);
    }
    let reason = &reason.as_bytes()[..reason.len().min(123)];
    encode(Opcode::Close, &[&code.to_be_bytes(), reason].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let (mut header, len) = header(Opcode::Text, payload.len());
        (header[0], header[1]) = (first, header[1] | 0x80);
        let mask = [7, 77, 177, 17];
        let body = payload.iter().enumerate().map(|(n, byte)| byte ^ mask[n % 4]);
        header[..len].iter().copied().chain(mask).chain(body).collect()
    }

    fn read(max: usize, pieces: &[&[u8]]) -> Result<Vec<Said>, Fault> {
        let (mut parser, mut said) = (Parser::new(max), Vec::new());
        for piece in pieces {
            parser.read(piece, &mut said)?;
        }
        Ok(said)
    }

    #[test]
    fn a_message_comes_in_any_pieces_with_control_frames_between() {
        let long = "é".repeat(40_000);
        let bytes = [
            masked(0x01, "Grüß".as_bytes()),
            masked(0x89, b"are you there"),
            masked(0x80, " Gott".as_bytes()),
            masked(0x81, long.as_bytes()),
            masked(0x82, &[1, 2, 3]),
            masked(0x8a, b""),
            masked(0x88, &[3, 232]),
        ]
        .concat();
        let expected = vec![
            Said::Ping(b"are you there".to_vec()),
            Said::Text("Grüß Gott".to_owned()),
            Said::Text(long),
            Said::Binary(vec![1, 2, 3]),
            Said::Pong(Vec::new()),
            Said::Close(1000),
        ];
        for size in [1, 2, 3, 7, 1000, bytes.len()] {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(read(100_000, &pieces).unwrap(), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_a_fault() {
        let unmasked = encode(Opcode::Text, b"hi");
        for bytes in [
            unmasked,
            masked(0xc1, b"reserved bit"),
            masked(0x83, b"reserved opcode"),
            masked(0x80, b"nothing to continue"),
            masked(0x09, b"a fragmented ping"),
            masked(0x89, &[0; 126]),
            [masked(0x01, b"a"), masked(0x81, b"b")].concat(),
            masked(0x88, &[3]),
            masked(0x88, &1005_u16.to_be_bytes()),
        ] {
            assert_eq!(read(1000, &[&bytes]), Err(Fault::Protocol), "{bytes:?}");
        }
        assert_eq!(read(1000, &[&masked(0x81, &[0xff])]), Err(Fault::NotUtf8));
        assert_eq!(
            read(1000, &[&masked(0x01, &[0xce, 0xba, 0xed, 0xa0])]),
            Err(Fault::NotUtf8),
            "as soon as it is known"
        );
        assert_eq!(read(1000, &[&masked(0x81, &[0xce])]), Err(Fault::NotUtf8), "the last character is cut");
        assert_eq!(read(1000, &[&masked(0x88, &[3, 232, 0xff])]), Err(Fault::NotUtf8));
        assert_eq!(read(9, &[&masked(0x81, &[b'a'; 10])[..6]]), Err(Fault::TooBig), "before the payload is read");
        assert_eq!(read(9, &[&[masked(0x01, &[b'a'; 5]), masked(0x80, &[b'a'; 5])].concat()]), Err(Fault::TooBig));
    }
}
