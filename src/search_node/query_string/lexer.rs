//! Cuts a query string into the tokens of Lucene's classic grammar.

/// One token. Texts are raw: their escapes are still in them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Lexeme {
    And,
    Or,
    Not,
    Plus,
    Minus,
    /// An operator before whitespace is text: `a - b`.
    BareOperator(char),
    Open,
    Close,
    Colon,
    Star,
    Caret,
    Number(f32),
    Quoted(String),
    Term(String),
    /// What follows `~`.
    Fuzzy(String),
    /// With its `*`.
    Prefix(String),
    Wildcard(String),
    Regex(String),
    /// `[` or `{`, and whether it includes its bound.
    RangeStart(bool),
    RangeEnd(bool),
    RangeTo,
    RangeQuoted(String),
    RangeText(String),
    /// What cannot be a token, with what was expected in its place.
    Invalid(String, &'static str),
    End,
}

impl Lexeme {
    /// How an error names it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::And => "AND".to_owned(),
            Self::Or => "OR".to_owned(),
            Self::Not => "NOT".to_owned(),
            Self::Plus => "\"+\"".to_owned(),
            Self::Minus => "\"-\"".to_owned(),
            Self::BareOperator(operator) => format!("{operator:?}"),
            Self::Open => "\"(\"".to_owned(),
            Self::Close => "\")\"".to_owned(),
            Self::Colon => "\":\"".to_owned(),
            Self::Star => "\"*\"".to_owned(),
            Self::Caret => "\"^\"".to_owned(),
            Self::Number(number) => format!("the number {number}"),
            Self::Quoted(text) | Self::RangeQuoted(text) => format!("the phrase {text:?}"),
            Self::Term(text)
            | Self::Prefix(text)
            | Self::Wildcard(text)
            | Self::RangeText(text) => format!("the text {text:?}"),
            Self::Fuzzy(text) => format!("\"~{text}\""),
            Self::Regex(text) => format!("the regular expression /{text}/"),
            Self::RangeStart(inclusive) => if *inclusive { "\"[\"" } else { "\"{\"" }.to_owned(),
            Self::RangeEnd(inclusive) => if *inclusive { "\"]\"" } else { "\"}\"" }.to_owned(),
            Self::RangeTo => "TO".to_owned(),
            Self::Invalid(found, _) => found.clone(),
            Self::End => "the end of the query".to_owned(),
        }
    }
}

/// A token and the character at which it starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) lexeme: Lexeme,
    pub(super) position: usize,
}

/// The tokens of a text; the last is always [`Lexeme::End`] or [`Lexeme::Invalid`].
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut lexer = Lexer {
        chars: &chars,
        at: 0,
        in_range: false,
        after_caret: false,
    };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.token();
        let last = matches!(token.lexeme, Lexeme::End | Lexeme::Invalid(..));
        tokens.push(token);
        if last {
            return tokens;
        }
    }
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
    in_range: bool,
    after_caret: bool,
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{3000}')
}

/// Whether a term may start with this character.
fn starts_term(c: char) -> bool {
    !is_space(c)
        && !matches!(
            c,
            '+' | '-'
                | '!'
                | '('
                | ')'
                | ':'
                | '^'
                | '['
                | ']'
                | '"'
                | '{'
                | '}'
                | '~'
                | '*'
                | '?'
                | '\\'
                | '/'
        )
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn raw(&self, from: usize, to: usize) -> String {
        self.chars[from..to].iter().collect()
    }

    fn token(&mut self) -> Token {
        // The grammar skips no space between a caret and its number.
        if !self.after_caret {
            while self.peek(0).is_some_and(is_space) {
                self.at += 1;
            }
        }
        let position = self.at;
        let lexeme = if std::mem::take(&mut self.after_caret) {
            self.number()
        } else if self.in_range {
            self.range_part()
        } else {
            self.plain()
        };
        Token { lexeme, position }
    }

    fn number(&mut self) -> Lexeme {
        let from = self.at;
        self.digits();
        if self.at > from
            && self.peek(0) == Some('.')
            && self.peek(1).is_some_and(|c| c.is_ascii_digit())
        {
            self.at += 1;
            self.digits();
        }
        match self.raw(from, self.at).parse::<f32>() {
            Ok(number) if number.is_finite() => Lexeme::Number(number),
            _ => {
                let found = self.peek(0);
                let found = found.map_or_else(|| Lexeme::End.describe(), |c| format!("{c:?}"));
                Lexeme::Invalid(found, "a positive number after \"^\"")
            }
        }
    }

    fn digits(&mut self) {
        while self.peek(0).is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn plain(&mut self) -> Lexeme {
        let Some(c) = self.peek(0) else {
            return Lexeme::End;
        };
        let one = match c {
            '+' | '-' | '!' if self.peek(1).is_some_and(is_space) => Lexeme::BareOperator(c),
            '+' => Lexeme::Plus,
            '-' => Lexeme::Minus,
            '!' => Lexeme::Not,
            '(' => Lexeme::Open,
            ')' => Lexeme::Close,
            ':' => Lexeme::Colon,
            '^' => {
                self.after_caret = true;
                Lexeme::Caret
            }
            '[' | '{' => {
                self.in_range = true;
                Lexeme::RangeStart(c == '[')
            }
            ']' | '}' => Lexeme::Invalid(format!("{c:?}"), "the start of a range before its end"),
            '"' => return self.enclosed('"', Lexeme::Quoted, "a closing quote"),
            '/' => {
                return self.enclosed(
                    '/',
                    Lexeme::Regex,
                    "a closing \"/\" (a slash in a term needs a backslash)",
                );
            }
            '~' => {
                self.at += 1;
                let from = self.at;
                self.term_characters(false);
                return Lexeme::Fuzzy(self.raw(from, self.at));
            }
            '\\' if self.peek(1).is_none() => {
                Lexeme::Invalid("a backslash".to_owned(), "a character after the backslash")
            }
            _ => return self.word(),
        };
        self.at += 1;
        one
    }

    /// The text up to the next unescaped `close`; the current character opens it.
    fn enclosed(
        &mut self,
        close: char,
        lexeme: fn(String) -> Lexeme,
        expected: &'static str,
    ) -> Lexeme {
        let from = self.at + 1;
        let mut to = from;
        while let Some(c) = self.chars.get(to) {
            if *c == close {
                self.at = to + 1;
                return lexeme(self.raw(from, to));
            }
            to += if *c == '\\' { 2 } else { 1 };
        }
        Lexeme::Invalid(format!("an unclosed {close:?}"), expected)
    }

    /// Consumes what may follow in a term; gives how many wildcards were among it.
    fn term_characters(&mut self, wildcards: bool) -> usize {
        let mut count = 0;
        while let Some(c) = self.peek(0) {
            match c {
                '\\' if self.peek(1).is_some() => self.at += 1,
                '*' | '?' if wildcards => count += 1,
                '-' | '+' => {}
                c if starts_term(c) => {}
                _ => break,
            }
            self.at += 1;
        }
        count
    }

    fn word(&mut self) -> Lexeme {
        let from = self.at;
        let wildcards = self.term_characters(true);
        let raw = self.raw(from, self.at);
        let last = self.chars.get(self.at - 1);
        match (wildcards, raw.as_str()) {
            (0, "AND" | "&&") => Lexeme::And,
            (0, "OR" | "||") => Lexeme::Or,
            (0, "NOT") => Lexeme::Not,
            (0, _) => Lexeme::Term(raw),
            (1, "*") => Lexeme::Star,
            // With one wildcard, a last star cannot be an escaped one.
            (1, _) if last == Some(&'*') && !ends_escaped(&raw) => Lexeme::Prefix(raw),
            _ => Lexeme::Wildcard(raw),
        }
    }

    fn range_part(&mut self) -> Lexeme {
        let Some(c) = self.peek(0) else {
            return Lexeme::End;
        };
        if c == ']' || c == '}' {
            self.at += 1;
            self.in_range = false;
            return Lexeme::RangeEnd(c == ']');
        }
        if c == '"' {
            return self.enclosed('"', Lexeme::RangeQuoted, "a closing quote");
        }
        let from = self.at;
        while let Some(c) = self.peek(0) {
            match c {
                '\\' if self.peek(1).is_some() => self.at += 1,
                ']' | '}' => break,
                c if is_space(c) => break,
                _ => {}
            }
            self.at += 1;
        }
        let raw = self.raw(from, self.at);
        if raw == "TO" {
            Lexeme::RangeTo
        } else {
            Lexeme::RangeText(raw)
        }
    }
}

/// Whether the last character has a backslash before it that is not itself escaped.
fn ends_escaped(raw: &str) -> bool {
    let backslashes = raw.chars().rev().skip(1).take_while(|c| *c == '\\');
    backslashes.count() % 2 == 1
}
