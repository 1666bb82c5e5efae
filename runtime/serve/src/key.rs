//! The API key: where it comes from, and whether a request shows it.
//!
//! In: flags, a file, the environment; headers. Out: a key; true or false. Invariant: the key is printed nowhere, not
//! by `Debug` either, and a wrong key takes as long to compare as a nearly right one.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use axum::http::{header, HeaderMap};

use qwenc_engine::error::{Error, Result};

/// Environment variable that may hold the key.
pub const VARIABLE: &str = "QWEN_API_KEY";
/// Longest key in bytes.
const LONGEST: usize = 4096;

/// API key that requests must carry.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl fmt::Debug for ApiKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ApiKey(…)")
    }
}

impl ApiKey {
    /// The key of `--api-key`, else of the file, else of the environment; none if no place has one.
    pub fn find(
        flag: Option<&str>,
        file: Option<&Path>,
        environment: Option<&str>,
    ) -> Result<Option<ApiKey>> {
        match (flag, file, environment) {
            (Some(key), _, _) => ApiKey::new(key, "--api-key").map(Some),
            (None, Some(path), _) => ApiKey::new(&read(path)?, &path.display().to_string()).map(Some),
            (None, None, Some(key)) => ApiKey::new(key, VARIABLE).map(Some),
            (None, None, None) => Ok(None),
        }
    }

    /// A key that a header can carry; `place` says where it stood.
    pub fn new(key: &str, place: &str) -> Result<ApiKey> {
        let key = key.trim_end_matches(['\r', '\n']);
        let why = match key.len() {
            0 => "is empty; a key has at least one character",
            n if n > LONGEST => "is longer than 4096 bytes, which is as long as a key may be",
            _ if !key.bytes().all(|b| b.is_ascii_graphic()) => {
                "has characters that no header carries; a key has letters, digits and signs of ASCII, no spaces"
            }
            _ => return Ok(ApiKey(key.to_owned())),
        };
        Err(Error::Usage(format!("the API key of {place} {why}")))
    }

    /// Whether `Authorization` says `Bearer` and this key. The scheme has no case (RFC 9110, 11.1).
    pub fn is_shown(&self, headers: &HeaderMap) -> bool {
        let mut said = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(first), None) = (said.next(), said.next()) else { return false };
        let text = first.as_bytes();
        let at = text.iter().position(|&b| b == b' ').unwrap_or(text.len());
        let (scheme, rest) = text.split_at(at);
        let shown = rest.trim_ascii();
        let differ = shown.iter().zip(self.0.as_bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        scheme.eq_ignore_ascii_case(b"bearer") && shown.len() == self.0.len() && differ == 0
    }
}

fn read(path: &Path) -> Result<String> {
    let failed = |e: &dyn fmt::Display| Error::Usage(format!("--api-key-file {}: {e}", path.display()));
    let file = File::open(path).map_err(|e| failed(&e))?;
    let mut text = String::new();
    // One byte more than fits shows that the file is too long.
    file.take(LONGEST as u64 + 3).read_to_string(&mut text).map_err(|e| failed(&e))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn shows(key: &ApiKey, said: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for text in said {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(text).unwrap());
        }
        key.is_shown(&headers)
    }

    #[test]
    fn the_scheme_has_no_case() {
        let key = ApiKey::new("secret", "--api-key").unwrap();
        for said in ["Bearer secret", "bearer secret", "BEARER secret", "bEaReR   secret"] {
            assert!(shows(&key, &[said]), "{said}");
        }
        for said in
            ["secret", "Basic secret", "Bearer Secret", "Bearer secre", "Bearer secrets", "Bearersecret", ""]
        {
            assert!(!shows(&key, &[said]), "{said}");
        }
        assert!(!shows(&key, &[]) && !shows(&key, &["Bearer no", "Bearer secret"]));
        assert_eq!(format!("{key:?}"), "ApiKey(…)");
    }

    #[test]
    fn a_flag_comes_before_a_file_before_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "of-file\r\n").unwrap();
        let key = |text: &str| Some(ApiKey(text.into()));
        let find = |flag, file, environment| ApiKey::find(flag, file, environment).unwrap();
        assert_eq!(find(Some("of-flag"), Some(&path), Some("of-environment")), key("of-flag"));
        assert_eq!(find(None, Some(&path), Some("of-environment")), key("of-file"));
        assert_eq!(find(None, None, Some("of-environment")), key("of-environment"));
        assert_eq!(find(None, None, None), None);
        for bad in ["", "\n", "a b", "a\nb", "schlüssel", &"x".repeat(4097)] {
            std::fs::write(&path, bad).unwrap();
            let said = ApiKey::find(None, Some(&path), None).unwrap_err().to_string();
            assert!(said.contains("key") && (bad.len() < 3 || !said.contains(bad)), "{said}");
            assert!(ApiKey::find(None, None, Some(bad)).is_err(), "{bad:?}");
        }
        let missing = ApiKey::find(None, Some(Path::new("/nowhere/key")), None).unwrap_err().to_string();
        assert!(missing.contains("--api-key-file /nowhere/key"), "{missing}");
    }
}
