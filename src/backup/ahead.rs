//! Reads ahead on a thread of its own, so that what is read and what is done with it take their time
//! together.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};

/// Read at once.
const CHUNK: usize = 256 << 10;
/// Chunks that wait.
const AHEAD: usize = 4;

/// What was read already.
pub(super) struct Ahead {
    from: Receiver<io::Result<Vec<u8>>>,
    now: io::Cursor<Vec<u8>>,
}

impl Ahead {
    /// Begins to read; ends when everything was read, or nobody wants more.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub(super) fn of(mut reader: impl Read + Send + 'static) -> io::Result<Self> {
        let (to, from) = sync_channel(AHEAD);
        let read = move || {
            loop {
                let mut chunk = Vec::with_capacity(CHUNK);
                let read = reader.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
                let last = !matches!(read, Ok(1..));
                if to.send(read.map(|_| chunk)).is_err() || last {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("ahead".to_owned());
        thread.spawn(read)?;
        Ok(Self {
            from,
            now: io::Cursor::default(),
        })
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.now.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.from.recv() {
                Ok(chunk) => self.now = io::Cursor::new(chunk?),
                Err(_) => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }

    #[test]
    fn everything_comes_in_its_order_and_so_does_an_error() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut found = Vec::new();
        let mut ahead = Ahead::of(io::Cursor::new(content.clone())).unwrap();
        ahead.read_to_end(&mut found).unwrap();
        assert!(found == content);

        let mut ahead = Ahead::of(io::Cursor::new([7; 10]).chain(Broken)).unwrap();
        let error = ahead.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "broken");
    }
}
