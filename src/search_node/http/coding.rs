//! Bodies that come compressed.

use std::io::Read;

use axum::http::{HeaderMap, header};
use bytes::Bytes;

use super::server::too_long;
use crate::search_node::failure::{Failure, Outcome};

/// How a body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// It is not.
    Plain,
    /// `gzip`, in one member or several.
    Gzip,
    /// `deflate`: zlib.
    Zlib,
}

impl Coding {
    /// What `Content-Encoding` says; 415 for what cannot be read here.
    pub(super) fn of(headers: &HeaderMap) -> Outcome<Self> {
        let Some(value) = headers.get(header::CONTENT_ENCODING) else {
            return Ok(Self::Plain);
        };
        match value.to_str().unwrap_or_default().trim() {
            "" | "identity" => Ok(Self::Plain),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "deflate" => Ok(Self::Zlib),
            other => Err(Failure::new(
                415,
                "media_type_header_exception",
                format!("Content-Encoding [{other}] is not supported; send gzip, or no encoding"),
            )),
        }
    }

    /// The body as it was before; at most `max` bytes.
    pub(super) fn decode(self, body: Bytes, max: usize) -> Outcome<Bytes> {
        let reader: Box<dyn Read> = match self {
            Self::Plain => return Ok(body),
            _ if body.is_empty() => return Ok(body),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(&*body)),
            Self::Zlib => Box::new(flate2::read::ZlibDecoder::new(&*body)),
        };
        let mut decoded = Vec::new();
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        reader
            .take(limit)
            .read_to_end(&mut decoded)
            .map_err(|error| {
                Failure::illegal(format!(
                    "the body is not what Content-Encoding says, or is broken: {error}"
                ))
            })?;
        if decoded.len() > max {
            return Err(too_long(max));
        }
        Ok(decoded.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    }

    fn coding(name: &'static str) -> Outcome<Coding> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, name.parse().unwrap());
        Coding::of(&headers)
    }

    #[test]
    fn what_was_packed_comes_out_and_no_more_than_may() {
        let two = [gzip(b"one "), gzip(b"two")].concat();
        let decode = |coding: Coding, body: Vec<u8>, max| coding.decode(body.into(), max);
        assert_eq!(decode(Coding::Gzip, two, 7).unwrap(), "one two");
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"three").unwrap();
        let zlib = zlib.finish().unwrap();
        assert_eq!(decode(Coding::Zlib, zlib, 5).unwrap(), "three");
        let bomb = gzip(&vec![b'x'; 1 << 20]);
        assert!(bomb.len() < 1 << 14);
        assert_eq!(decode(Coding::Gzip, bomb, 1 << 19).unwrap_err().status, 413);
        let broken = decode(Coding::Gzip, b"{\"a\": 1}".to_vec(), 100).unwrap_err();
        assert_eq!(broken.status, 400);
        assert_eq!(decode(Coding::Gzip, Vec::new(), 1).unwrap(), "");
    }

    #[test]
    fn other_codings_are_refused_by_name() {
        assert_eq!(coding("gzip").unwrap(), Coding::Gzip);
        assert_eq!(coding("identity").unwrap(), Coding::Plain);
        let refused = coding("br").unwrap_err();
        assert_eq!(refused.status, 415);
        assert!(refused.reason.contains("[br]"), "{refused}");
    }
}
