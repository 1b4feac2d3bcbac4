//! Which operators a simple query string may use.

/// Which operators of the simple query string count; the others are text.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `+` requires what follows.
    pub and: bool,
    /// `|` makes what follows an alternative.
    pub or: bool,
    /// `-` excludes what follows.
    pub not: bool,
    /// A final `*` makes a term a prefix.
    pub prefix: bool,
    /// Quotes make a phrase.
    pub phrase: bool,
    /// Parentheses group.
    pub precedence: bool,
    /// A backslash takes the next character literally.
    pub escape: bool,
    /// Whitespace ends a term.
    pub whitespace: bool,
    /// `~` after a term lets it differ.
    pub fuzzy: bool,
    /// `~` after a phrase lets its terms be apart.
    pub slop: bool,
}

/// A flag that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown simple_query_string flag [{0}]")]
pub(crate) struct UnknownFlag(pub String);

impl Flags {
    /// Every operator.
    pub(crate) const ALL: Self = Self::every(true);
    /// No operator: the whole text is one term.
    pub(crate) const NONE: Self = Self::every(false);

    const fn every(on: bool) -> Self {
        Self {
            and: on,
            or: on,
            not: on,
            prefix: on,
            phrase: on,
            precedence: on,
            escape: on,
            whitespace: on,
            fuzzy: on,
            slop: on,
        }
    }

    /// Flags from their names joined by `|`, in any case. A blank text means all of them, and
    /// `ALL` or `NONE` overrides what stands beside it.
    pub(crate) fn from_names(names: &str) -> Result<Self, UnknownFlag> {
        if names.trim().is_empty() {
            return Ok(Self::ALL);
        }
        let mut flags = Self::NONE;
        let mut whole = None;
        for name in names.split('|') {
            let flag = match name.trim().to_ascii_uppercase().as_str() {
                "ALL" => {
                    whole = whole.or(Some(Self::ALL));
                    continue;
                }
                "NONE" => {
                    whole = whole.or(Some(Self::NONE));
                    continue;
                }
                "AND" => &mut flags.and,
                "OR" => &mut flags.or,
                "NOT" => &mut flags.not,
                "PREFIX" => &mut flags.prefix,
                "PHRASE" => &mut flags.phrase,
                "PRECEDENCE" => &mut flags.precedence,
                "ESCAPE" => &mut flags.escape,
                "WHITESPACE" => &mut flags.whitespace,
                "FUZZY" => &mut flags.fuzzy,
                "SLOP" | "NEAR" => &mut flags.slop,
                _ => return Err(UnknownFlag(name.to_owned())),
            };
            *flag = true;
        }
        Ok(whole.unwrap_or(flags))
    }
}

impl Default for Flags {
    fn default() -> Self {
        Self::ALL
    }
}
