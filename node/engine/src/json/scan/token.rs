//! Strings and numbers.

use super::{Fault, Scanner};

impl Scanner<'_> {
    /// A string from its opening quote on; whether it has escapes.
    pub(super) fn string(&mut self) -> Result<bool, Fault> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at = plain_end(self.input, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    self.escape()?;
                    escaped = true;
                }
                Some(_) => return self.fault("control character in a string"),
                None => return self.fault("unterminated string"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        match self.input.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let unit = self.code_unit()?;
                match unit {
                    0xD800..=0xDBFF => {
                        let low = self.input.get(self.at + 6..self.at + 8) == Some(b"\\u");
                        self.at += 6;
                        if !low || !(0xDC00..=0xDFFF).contains(&self.code_unit()?) {
                            self.at -= 6;
                            return self.fault("unpaired surrogate");
                        }
                        self.at += 6;
                    }
                    0xDC00..=0xDFFF => return self.fault("unpaired surrogate"),
                    _ => self.at += 6,
                }
                Ok(())
            }
            Some(_) => self.fault("invalid escape"),
            None => self.fault("unterminated string"),
        }
    }

    /// The value of the `\uXXXX` at `at`.
    fn code_unit(&self) -> Result<u32, Fault> {
        let digits = self.input.get(self.at + 2..self.at + 6).unwrap_or_default();
        let mut unit = 0;
        for digit in digits {
            match char::from(*digit).to_digit(16) {
                Some(value) => unit = unit << 4 | value,
                None => return self.fault("invalid escape"),
            }
        }
        if digits.len() < 4 {
            return self.fault("invalid escape");
        }
        Ok(unit)
    }

    pub(super) fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return self.fault("invalid number"),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !matches!(self.peek(), Some(b'0'..=b'9')) {
                return self.fault("invalid number");
            }
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if !matches!(self.peek(), Some(b'0'..=b'9')) {
                return self.fault("invalid number");
            }
            self.digits();
        }
        // `007` and `1.2.3` would otherwise be reported as a missing comma.
        if matches!(self.peek(), Some(b'0'..=b'9' | b'.')) {
            return self.fault("invalid number");
        }
        Ok(())
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }
}

/// The first byte from `at` on that may not stand in a string as it is; eight at a time.
fn plain_end(input: &[u8], mut at: usize) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The lowest bit that is set in `below(word, n)` belongs to the first byte below `n`.
    let below = |word: u64, n: u8| word.wrapping_sub(LOW * u64::from(n)) & !word & HIGH;
    while let Some(chunk) = input.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let special = below(word, 0x20)
            | below(word ^ (LOW * u64::from(b'"')), 1)
            | below(word ^ (LOW * u64::from(b'\\')), 1);
        if special != 0 {
            return at + (special.trailing_zeros() >> 3) as usize;
        }
        at += 8;
    }
    while let Some(byte) = input.get(at) {
        if *byte < 0x20 || *byte == b'"' || *byte == b'\\' {
            break;
        }
        at += 1;
    }
    at
}
