//! Names of keys: `lucid:{service}:{entity}:{id}`, and the logical database that each belongs to.

use super::super::StoreError;

/// Every key begins with this.
pub const PREFIX: &str = "lucid:";
/// Logical databases that Lucid uses: tokens and limits, authentication, nodes, cached data.
pub const DATABASES: [i64; 4] = [0, 1, 2, 3];
/// Longest id, in bytes.
const LONGEST: usize = 512;

/// A key and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Whole name.
    pub name: String,
    /// Logical database.
    pub database: i64,
}

/// The logical database of a service.
fn database_of(service: &str) -> i64 {
    match service {
        "auth" => 1,
        "node" => 2,
        "cache" => 3,
        // Sessions, rate limits, locks.
        _ => 0,
    }
}

fn is_word(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    (1..=64).contains(&text.len()) && text.chars().all(allowed)
}

impl Key {
    /// A key from its parts.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] where a part would make it another key.
    pub fn new(service: &str, entity: &str, id: &str) -> Result<Self, StoreError> {
        for (part, text) in [("service", service), ("entity", entity)] {
            if !is_word(text) {
                let message = format!(
                    "{text:?}: lower-case letters, digits, _ and -, 1 to 64 of them, are a name"
                );
                return Err(StoreError::invalid(part, "pattern", message));
            }
        }
        if id.is_empty() || id.len() > LONGEST || id.chars().any(char::is_control) {
            let message = format!("1 to {LONGEST} bytes without control characters are an id");
            return Err(StoreError::invalid("id", "pattern", message));
        }
        Ok(Self {
            name: format!("{PREFIX}{service}:{entity}:{id}"),
            database: database_of(service),
        })
    }

    /// A key from its whole name.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] where it is none of Lucid's.
    pub fn parse(name: &str) -> Result<Self, StoreError> {
        let wrong = || {
            let message = format!("{name:?} is none: lucid:{{service}}:{{entity}}:{{id}} is a key");
            StoreError::invalid("key", "pattern", message)
        };
        let rest = name.strip_prefix(PREFIX).ok_or_else(wrong)?;
        let mut parts = rest.splitn(3, ':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(service), Some(entity), Some(id)) => Self::new(service, entity, id),
            _ => Err(wrong()),
        }
    }

    /// Whether its value is a secret: whoever has it is let in.
    pub fn is_secret(&self) -> bool {
        ["session:", "auth:", "lock:"]
            .iter()
            .any(|service| self.name[PREFIX.len()..].starts_with(service))
    }
}

/// A pattern of a person: `*` and `?` alone are special, and it stays among Lucid's keys.
pub(super) fn pattern(wanted: &str) -> Result<String, StoreError> {
    if wanted.len() > LONGEST || wanted.chars().any(char::is_control) {
        let message = format!("{LONGEST} bytes without control characters at most");
        return Err(StoreError::invalid("pattern", "pattern", message));
    }
    let mut made = String::new();
    if !wanted.starts_with(PREFIX) {
        // `*` alone is every key; `user:*` is none without its beginning.
        if wanted != "*" {
            let message =
                format!("{wanted:?} leaves Lucid's keys: begin it with {PREFIX}, or use *");
            return Err(StoreError::invalid("pattern", "prefix", message));
        }
        made.push_str(PREFIX);
    }
    for c in wanted.chars() {
        if matches!(c, '[' | ']' | '\\' | '^') {
            made.push('\\');
        }
        made.push(c);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lie_in_the_database_of_their_service() {
        let key = Key::new("session", "token", "abc").unwrap();
        assert_eq!(
            (key.name.as_str(), key.database),
            ("lucid:session:token:abc", 0)
        );
        assert!(key.is_secret());
        assert_eq!(Key::parse("lucid:cache:manifest:a:b").unwrap().database, 3);
        assert_eq!(Key::parse("lucid:auth:jwt:x").unwrap().database, 1);
        assert_eq!(Key::parse("lucid:node:metrics:x").unwrap().database, 2);
    }

    #[test]
    fn no_part_makes_another_key() {
        for (service, entity, id) in [
            ("session:x", "token", "1"),
            ("session", "token*", "1"),
            ("", "token", "1"),
            ("session", "token", ""),
            ("session", "token", "a\nb"),
        ] {
            assert!(
                Key::new(service, entity, id).is_err(),
                "{service} {entity} {id:?}"
            );
        }
        for name in ["other:a:b:c", "lucid:a:b", "lucid:", "lucid:a::c"] {
            assert!(Key::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn patterns_stay_among_the_keys_of_lucid() {
        assert_eq!(pattern("*").unwrap(), "lucid:*");
        assert_eq!(pattern("lucid:cache:a?*").unwrap(), "lucid:cache:a?*");
        assert_eq!(pattern("lucid:[ab]").unwrap(), "lucid:\\[ab\\]");
        assert!(pattern("user:*").is_err());
    }
}
