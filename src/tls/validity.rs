//! Until when a certificate is valid, for the log: the one field of X.509 that rustls does not tell.

/// The end of a certificate's validity as RFC 3339 in UTC (`2027-01-31T23:59:59Z`), which sorts by
/// time as text. `None`: this is no certificate.
///
/// Source: RFC 5280 section 4.1; the lengths and tags are those of X.690.
pub(super) fn not_after(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = element(&mut { certificate }, SEQUENCE)?;
    let mut rest = element(&mut { certificate }, SEQUENCE)?.1;
    // version [0] (optional), serialNumber, signature, issuer: skipped, whatever is in them.
    if rest.first() == Some(&VERSION) {
        any(&mut rest)?;
    }
    for _ in ["serialNumber", "signature", "issuer"] {
        any(&mut rest)?;
    }
    let mut validity = element(&mut rest, SEQUENCE)?.1;
    any(&mut validity)?;
    let (tag, time) = any(&mut validity)?;
    let time = std::str::from_utf8(time).ok()?;
    if !time.is_ascii() {
        return None;
    }
    // UTCTime has two digits of the year, 50 to 99 of the last century (section 4.1.2.5.1).
    let (century, time) = match tag {
        UTC_TIME if time < "50" => ("20", time),
        UTC_TIME => ("19", time),
        GENERALIZED_TIME => time.split_at_checked(2)?,
        _ => return None,
    };
    let digits = time.strip_suffix('Z')?;
    if digits.len() != 10 + 2 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |at: usize| &digits[at..at + 2];
    Some(format!(
        "{century}{}-{}-{}T{}:{}:{}Z",
        part(0),
        part(2),
        part(4),
        part(6),
        part(8),
        part(10)
    ))
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Takes the next element off `bytes`, which must have that tag.
fn element<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<(u8, &'a [u8])> {
    any(bytes).filter(|(found, _)| *found == tag)
}

/// Takes the next element off `bytes`: its tag and its contents.
fn any<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, first], mut rest) = bytes.split_first_chunk()?;
    let length = match first {
        0..=0x7f => usize::from(first),
        // A length of so many bytes; more than four would be longer than any certificate.
        0x81..=0x84 => {
            let (length, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            rest = after;
            let shift = |sum: usize, &byte: &u8| sum << 8 | usize::from(byte);
            length.iter().fold(0, shift)
        }
        _ => return None,
    };
    let (contents, after) = rest.split_at_checked(length)?;
    *bytes = after;
    Some((tag, contents))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut parameters = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(year, 3, 9);
        let key = rcgen::KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read_in_both_forms_of_time() {
        for (year, end) in [
            (2031, "2031-03-09T00:00:00Z"),
            (2067, "2067-03-09T00:00:00Z"),
        ] {
            assert_eq!(not_after(&certificate(year)).as_deref(), Some(end));
        }
    }

    #[test]
    fn no_part_of_a_certificate_is_taken_for_one() {
        let whole = certificate(2031);
        for end in 0..whole.len() {
            assert_eq!(not_after(&whole[..end]), None, "{end} bytes");
        }
        for at in 0..80 {
            let mut bent = whole.clone();
            bent[at] ^= 0xff;
            // Whatever it says: it does not panic.
            let _ = not_after(&bent);
        }
    }
}
