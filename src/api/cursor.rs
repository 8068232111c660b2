//! Where the next page begins, as clients see it: a word that means nothing to them.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::error::ApiError;

/// Longest cursor that is read, bytes: longer than any of ours.
const CURSOR_BYTES_MAX: usize = 1024;

/// Writes a place for clients. `kind` says which kind of page it belongs to.
pub(super) fn encode(kind: char, place: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{kind}{place}"))
}

/// Reads what [`encode`] has written for one of `kinds`.
///
/// Errors: 422 about `cursor`.
pub(super) fn decode(cursor: &str, kinds: &[char]) -> Result<(char, String), ApiError> {
    let invalid = || ApiError::invalid_member("cursor", "no cursor of this list");
    if cursor.len() > CURSOR_BYTES_MAX {
        return Err(invalid());
    }
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(cursor)
        .map_err(|_| invalid())?;
    let text = String::from_utf8(bytes).map_err(|_| invalid())?;
    let kind = text.chars().next().filter(|kind| kinds.contains(kind));
    let kind = kind.ok_or_else(invalid)?;
    Ok((kind, text[kind.len_utf8()..].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_by_its_own_list_alone() {
        let cursor = encode('r', "küche/1");
        assert!(
            cursor
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        assert_eq!(
            decode(&cursor, &['r']).unwrap(),
            ('r', "küche/1".to_owned())
        );
        assert!(decode(&cursor, &['b', 'a']).is_err());
        for wrong in ["", "=", "a b", "////", &"x".repeat(2000)] {
            assert!(decode(wrong, &['r']).is_err(), "{wrong}");
        }
    }
}
