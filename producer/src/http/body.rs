//! A request's body with its bounds: on time, on bytes as they come, and on bytes after inflating.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, HeaderMap};

use super::answer::Problem;

/// How the body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Not at all.
    Identity,
    /// With gzip.
    Gzip,
}

impl Coding {
    /// The coding that the headers name.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase()).as_deref() {
            None | Some(b"identity" | b"") => Ok(Self::Identity),
            Some(b"gzip" | b"x-gzip") => Ok(Self::Gzip),
            Some(_) => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content-encoding is neither gzip nor identity; send the body as it is or with gzip",
            )),
        }
    }
}

/// Bytes that the body may come to: what it announces, else the most there may be.
pub(super) fn bytes_bound(body: &Incoming, coding: Coding, bytes_max: usize) -> Result<usize, Problem> {
    let announced = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    match (announced, coding) {
        (Some(bytes), _) if bytes > bytes_max => Err(too_long(bytes_max)),
        (Some(bytes), Coding::Identity) => Ok(bytes),
        _ => Ok(bytes_max),
    }
}

/// Reads the whole body, in so much time, and inflates it.
pub(super) async fn read(
    body: Incoming,
    coding: Coding,
    bytes_max: usize,
    most: Duration,
) -> Result<Bytes, Problem> {
    let collected = tokio::time::timeout(most, Limited::new(body, bytes_max).collect()).await;
    let Ok(collected) = collected else {
        return Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not come in time; send it faster",
        ));
    };
    let bytes = match collected {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => return Err(too_long(bytes_max)),
        Err(_) => return Err(Problem::new(StatusCode::BAD_REQUEST, "the body ended before its time")),
    };
    match coding {
        Coding::Identity => Ok(bytes),
        Coding::Gzip => inflate(&bytes, bytes_max),
    }
}

fn inflate(packed: &[u8], bytes_max: usize) -> Result<Bytes, Problem> {
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let read = MultiGzDecoder::new(packed).take(most).read_to_end(&mut bytes);
    match read {
        Ok(_) if bytes.len() > bytes_max => Err(too_long(bytes_max)),
        Ok(_) => Ok(Bytes::from(bytes)),
        Err(_) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "the body is not whole gzip, as its header says"))
        }
    }
}

fn too_long(bytes_max: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is longer than {bytes_max} bytes, inflated if it is packed; send it in parts"),
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_small_body_that_inflates_without_end_is_cut_at_the_bound() {
        let bomb = packed(&vec![0; 50_000_000]);
        assert!(bomb.len() < 300_000);
        assert_eq!(inflate(&bomb, 1_000_000).unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(inflate(&packed(b"hello"), 5).unwrap(), "hello");
        assert_eq!(inflate(&[packed(b"hel"), packed(b"lo")].concat(), 5).unwrap(), "hello");
        assert_eq!(inflate(&packed(b"hello")[..12], 50).unwrap_err().status, StatusCode::BAD_REQUEST);
    }
}
