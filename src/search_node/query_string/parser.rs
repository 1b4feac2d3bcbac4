//! Lucene's classic query parser, with Elasticsearch's additions.

use super::lexer::{Lexeme, Token, tokens};
use super::{Fuzzy, MAX_CLAUSES, MAX_DEPTH, Node, Operator, SyntaxError};

/// The field whose value names a field that must exist.
const EXISTS: &str = "_exists_";

const CLAUSE: &str = "a term, a phrase, a range, a regular expression or \"(\"";

/// Parses a query in Lucene's query string syntax.
///
/// Operators work as in Lucene's classic parser: `AND` makes the clauses at its sides required,
/// `OR` makes them optional where `default_operator` requires them, and neither binds tighter.
/// A blank text gives [`Node::Nothing`].
pub(crate) fn parse(text: &str, default_operator: Operator) -> Result<Node, SyntaxError> {
    if text.trim().is_empty() {
        return Ok(Node::Nothing);
    }
    let tokens = tokens(text);
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        default_operator,
        depth: 0,
        clauses: 0,
    };
    let node = parser.query(None)?;
    match parser.peek() {
        Lexeme::End => Ok(node),
        _ => Err(parser.unexpected("the end of the query, as no \"(\" is open")),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Occur {
    Must,
    Should,
    MustNot,
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    default_operator: Operator,
    depth: usize,
    clauses: usize,
}

impl<'a> Parser<'a> {
    fn lexeme(&self, ahead: usize) -> &'a Lexeme {
        self.tokens
            .get(self.at + ahead)
            .map_or(&Lexeme::End, |token| &token.lexeme)
    }

    fn peek(&self) -> &'a Lexeme {
        self.lexeme(0)
    }

    fn position(&self) -> usize {
        let token = self.tokens.get(self.at).or(self.tokens.last());
        token.map_or(0, |token| token.position)
    }

    fn unexpected(&self, expected: &'static str) -> SyntaxError {
        let expected = match self.peek() {
            Lexeme::Invalid(_, instead) => instead,
            _ => expected,
        };
        SyntaxError::Unexpected {
            position: self.position(),
            found: self.peek().describe(),
            expected,
        }
    }

    /// Clauses up to a closing parenthesis or the end.
    fn query(&mut self, field: Option<&str>) -> Result<Node, SyntaxError> {
        let mut clauses: Vec<(Occur, Node)> = Vec::new();
        let mut plain = true;
        loop {
            let conjunction = match self.peek() {
                Lexeme::And if !clauses.is_empty() => Some(Operator::And),
                Lexeme::Or if !clauses.is_empty() => Some(Operator::Or),
                Lexeme::Close | Lexeme::End if !clauses.is_empty() => break,
                _ => None,
            };
            self.at += usize::from(conjunction.is_some());
            let modifier = match self.peek() {
                Lexeme::Plus => Some(Occur::Must),
                Lexeme::Minus | Lexeme::Not => Some(Occur::MustNot),
                _ => None,
            };
            self.at += usize::from(modifier.is_some());
            let node = self.clause(field)?;
            plain = clauses.is_empty() && modifier.is_none();
            self.add(&mut clauses, conjunction, modifier, node);
        }
        if plain && let Some((_, node)) = clauses.pop() {
            return Ok(node);
        }
        let (mut must, mut should, mut must_not) = (Vec::new(), Vec::new(), Vec::new());
        for (occur, node) in clauses {
            match occur {
                Occur::Must => must.push(node),
                Occur::Should => should.push(node),
                Occur::MustNot => must_not.push(node),
            }
        }
        Ok(Node::Bool {
            must,
            should,
            must_not,
        })
    }

    /// Lucene's `addClause`: an operator also changes the clause before it.
    fn add(
        &self,
        clauses: &mut Vec<(Occur, Node)>,
        conjunction: Option<Operator>,
        modifier: Option<Occur>,
        node: Node,
    ) {
        if let Some((before, _)) = clauses.last_mut()
            && *before != Occur::MustNot
        {
            match (conjunction, self.default_operator) {
                (Some(Operator::And), _) => *before = Occur::Must,
                (Some(Operator::Or), Operator::And) => *before = Occur::Should,
                _ => {}
            }
        }
        let required = match self.default_operator {
            Operator::Or => modifier == Some(Occur::Must) || conjunction == Some(Operator::And),
            // Even a plus yields to OR here, as in Lucene.
            Operator::And => conjunction != Some(Operator::Or),
        };
        let occur = match modifier {
            Some(Occur::MustNot) => Occur::MustNot,
            _ if required => Occur::Must,
            _ => Occur::Should,
        };
        clauses.push((occur, node));
    }

    fn clause(&mut self, outer: Option<&str>) -> Result<Node, SyntaxError> {
        let mut own = None;
        if *self.lexeme(1) == Lexeme::Colon {
            own = match self.peek() {
                // The grammar wants the wildcards of a field escaped; people leave them bare.
                Lexeme::Term(raw) | Lexeme::Prefix(raw) | Lexeme::Wildcard(raw) => {
                    Some(self.unescape(raw, 0)?)
                }
                Lexeme::Star => Some("*".to_owned()),
                _ => None,
            };
            self.at += if own.is_some() { 2 } else { 0 };
        }
        let field = own.as_deref().or(outer);
        if *self.peek() != Lexeme::Open {
            return self.term(field);
        }
        if self.depth == MAX_DEPTH {
            return Err(SyntaxError::TooDeep {
                position: self.position(),
            });
        }
        self.at += 1;
        self.depth += 1;
        let node = self.query(field)?;
        self.depth -= 1;
        if *self.peek() != Lexeme::Close {
            return Err(self.unexpected("\")\""));
        }
        self.at += 1;
        let boost = self.boost()?;
        Ok(node.boosted(boost.unwrap_or(1.0)))
    }

    fn term(&mut self, field: Option<&str>) -> Result<Node, SyntaxError> {
        if self.clauses == MAX_CLAUSES {
            return Err(SyntaxError::TooManyClauses {
                position: self.position(),
            });
        }
        self.clauses += 1;
        let start = self.at;
        let owned = || field.map(str::to_owned);
        let mut node = match self.peek() {
            Lexeme::Term(raw) => self.bare_term(field, raw)?,
            Lexeme::BareOperator(operator) => text(field, operator.to_string(), false),
            Lexeme::Quoted(raw) => {
                let phrase = self.unescape(raw, 1)?;
                match field {
                    Some(EXISTS) => Node::Exists { field: phrase },
                    _ => text(field, phrase, true),
                }
            }
            Lexeme::Star => match field {
                None | Some("*") => Node::All,
                Some(field) => Node::Exists {
                    field: field.to_owned(),
                },
            },
            Lexeme::Prefix(raw) => Node::Prefix {
                field: owned(),
                prefix: self.unescape(raw.strip_suffix('*').unwrap_or(raw), 0)?,
                boost: 1.0,
            },
            Lexeme::Wildcard(raw) => Node::Wildcard {
                field: owned(),
                pattern: raw.clone(),
                boost: 1.0,
            },
            Lexeme::Regex(raw) => Node::Regex {
                field: owned(),
                pattern: raw.clone(),
                boost: 1.0,
            },
            Lexeme::RangeStart(inclusive) => {
                let range = self.range(field, *inclusive)?;
                let boost = self.boost()?.unwrap_or(1.0);
                return Ok(range.boosted(boost));
            }
            _ => return Err(self.unexpected(CLAUSE)),
        };
        self.at = start + 1;
        let mut boost = self.boost()?;
        if let Lexeme::Fuzzy(amount) = self.peek() {
            self.loosen(&mut node, amount)?;
            self.at += 1;
            if boost.is_none() {
                boost = self.boost()?;
            }
        }
        Ok(node.boosted(boost.unwrap_or(1.0)))
    }

    /// A term without wildcards, which may also be a comparison such as `>=10`.
    fn bare_term(&self, field: Option<&str>, raw: &str) -> Result<Node, SyntaxError> {
        let value = self.unescape(raw, 0)?;
        let Some(name) = field else {
            return Ok(text(None, value, false));
        };
        if name == EXISTS {
            return Ok(Node::Exists { field: value });
        }
        for (operator, lower, inclusive) in [
            (">=", true, true),
            ("<=", false, true),
            (">", true, false),
            ("<", false, false),
        ] {
            let Some(bound) = raw.strip_prefix(operator) else {
                continue;
            };
            if bound.is_empty() {
                break;
            }
            let bound = Some((self.unescape(bound, operator.len())?, inclusive));
            let (from, to) = if lower { (bound, None) } else { (None, bound) };
            return Ok(Node::Range {
                field: Some(name.to_owned()),
                from,
                to,
                boost: 1.0,
            });
        }
        Ok(text(field, value, false))
    }

    /// The range whose start is the current token.
    fn range(&mut self, field: Option<&str>, from_inclusive: bool) -> Result<Node, SyntaxError> {
        self.at += 1;
        let from = self.bound()?;
        if *self.peek() != Lexeme::RangeTo {
            return Err(self.unexpected("TO between the bounds of a range"));
        }
        self.at += 1;
        let to = self.bound()?;
        let Lexeme::RangeEnd(to_inclusive) = self.peek() else {
            return Err(self.unexpected("\"]\" or \"}\""));
        };
        self.at += 1;
        Ok(Node::Range {
            field: field.map(str::to_owned),
            from: from.map(|bound| (bound, from_inclusive)),
            to: to.map(|bound| (bound, *to_inclusive)),
            boost: 1.0,
        })
    }

    /// One end of a range; `None` if it is open.
    fn bound(&mut self) -> Result<Option<String>, SyntaxError> {
        let bound = match self.peek() {
            // Elasticsearch takes even a quoted star as open.
            Lexeme::RangeText(raw) | Lexeme::RangeQuoted(raw) if raw == "*" => None,
            Lexeme::RangeText(raw) => Some(self.unescape(raw, 0)?),
            Lexeme::RangeQuoted(raw) => Some(self.unescape(raw, 1)?),
            Lexeme::RangeTo => Some("TO".to_owned()),
            _ => return Err(self.unexpected("a bound of the range, or \"*\"")),
        };
        self.at += 1;
        Ok(bound)
    }

    fn boost(&mut self) -> Result<Option<f32>, SyntaxError> {
        if *self.peek() != Lexeme::Caret {
            return Ok(None);
        }
        self.at += 1;
        let Lexeme::Number(boost) = self.peek() else {
            return Err(self.unexpected("a number"));
        };
        self.at += 1;
        Ok(Some(*boost))
    }

    /// Applies `~amount`: the slop of a phrase, or the edits of a term.
    fn loosen(&self, node: &mut Node, amount: &str) -> Result<(), SyntaxError> {
        // What is neither, such as a prefix, ignores it, as in Lucene.
        let Node::Text {
            quoted,
            slop,
            fuzzy,
            ..
        } = node
        else {
            return Ok(());
        };
        if amount.is_empty() {
            *fuzzy = (!*quoted).then_some(Fuzzy::Auto);
        } else if *quoted {
            let whole = amount.split_once('.').map_or(amount, |(whole, _)| whole);
            let given = whole.parse().ok();
            *slop = Some(given.ok_or_else(|| self.unexpected("the slop as a number"))?);
        } else {
            *fuzzy = Some(match amount {
                "0" | "0.0" => Fuzzy::Edits(0),
                "1" | "1.0" => Fuzzy::Edits(1),
                "2" | "2.0" => Fuzzy::Edits(2),
                auto if auto.eq_ignore_ascii_case("auto") => Fuzzy::Auto,
                _ => return Err(self.unexpected("~, ~0, ~1 or ~2")),
            });
        }
        Ok(())
    }

    /// The text that `raw` escapes; it starts `offset` characters into the current token.
    fn unescape(&self, raw: &str, offset: usize) -> Result<String, SyntaxError> {
        let mut out = String::with_capacity(raw.len());
        let mut chars = raw.chars().enumerate();
        while let Some((_, c)) = chars.next() {
            let escaped = if c == '\\' { chars.next() } else { None };
            let Some((at, escaped)) = escaped else {
                out.push(c);
                continue;
            };
            if escaped != 'u' {
                out.push(escaped);
                continue;
            }
            let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
            let hex = digits.len() == 4 && digits.chars().all(|c| c.is_ascii_hexdigit());
            let code = u32::from_str_radix(&digits, 16).ok().filter(|_| hex);
            out.push(
                code.and_then(char::from_u32)
                    .ok_or_else(|| SyntaxError::Unexpected {
                        position: self.position() + offset + at - 1,
                        found: format!("{:?}", format!("\\u{digits}")),
                        expected: "four hexadecimal digits of a character after \"\\u\"",
                    })?,
            );
        }
        Ok(out)
    }
}

fn text(field: Option<&str>, text: String, quoted: bool) -> Node {
    Node::Text {
        field: field.map(str::to_owned),
        text,
        quoted,
        slop: None,
        fuzzy: None,
        boost: 1.0,
    }
}
