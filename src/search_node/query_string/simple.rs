//! Elasticsearch's simple query string, after Lucene's `SimpleQueryParser`.

use super::{Flags, Fuzzy, MAX_CLAUSES, MAX_DEPTH, Node, Operator, SyntaxError};

/// Parses a query in Elasticsearch's simple query string syntax.
///
/// No syntax is wrong: what makes no sense is text, or left out. Only the bounds
/// [`MAX_DEPTH`] and [`MAX_CLAUSES`] are errors.
pub(crate) fn parse_simple(
    text: &str,
    default_operator: Operator,
    flags: Flags,
) -> Result<Node, SyntaxError> {
    if text.trim() == "*" {
        return Ok(Node::All);
    }
    let chars: Vec<char> = text.chars().collect();
    let mut parser = Parser {
        closing: closing(&chars, flags),
        chars: &chars,
        flags,
        default_operator,
        at: 0,
        clauses: 0,
    };
    let tree = parser.query(chars.len(), 0)?;
    Ok(tree.node().map_or(Node::Nothing, |(node, _)| node))
}

/// For each parenthesis that has its partner, where that is. Found in one pass, so that many
/// unclosed ones cost no more.
fn closing(chars: &[char], flags: Flags) -> Vec<Option<usize>> {
    let mut closing = vec![None; chars.len()];
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(c) = chars.get(at) {
        match c {
            '\\' if flags.escape => at += 1,
            '(' => open.push(at),
            ')' => {
                if let Some(opening) = open.pop() {
                    closing[opening] = Some(at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    closing
}

/// What has been parsed of a query, and how deep it is.
enum Tree {
    Empty,
    Single(Node, usize),
    /// Clauses that one operator joins.
    Joined(Operator, Vec<Node>, usize),
}

impl Tree {
    fn node(self) -> Option<(Node, usize)> {
        let (operator, nodes, depth) = match self {
            Self::Empty => return None,
            Self::Single(node, depth) => return Some((node, depth)),
            Self::Joined(operator, nodes, depth) => (operator, nodes, depth),
        };
        let (must, should) = match operator {
            Operator::And => (nodes, Vec::new()),
            Operator::Or => (Vec::new(), nodes),
        };
        let node = Node::Bool {
            must,
            should,
            must_not: Vec::new(),
        };
        Some((node, depth))
    }

    /// The tree with one more clause. Another operator than before takes all of the tree as its
    /// first clause: there is no precedence but the order.
    fn with(self, operator: Operator, node: Node, depth: usize) -> Self {
        match self {
            Self::Empty => Self::Single(node, depth),
            Self::Joined(before, mut nodes, old) if before == operator => {
                nodes.push(node);
                Self::Joined(operator, nodes, old.max(depth + 1))
            }
            tree => match tree.node() {
                None => Self::Single(node, depth),
                Some((first, old)) => Self::Joined(operator, vec![first, node], old.max(depth) + 1),
            },
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Single(_, depth) | Self::Joined(_, _, depth) => *depth,
        }
    }
}

struct Parser<'a> {
    chars: &'a [char],
    closing: Vec<Option<usize>>,
    flags: Flags,
    default_operator: Operator,
    at: usize,
    clauses: usize,
}

impl Parser<'_> {
    /// The query from here to `end`, within `level` parentheses.
    fn query(&mut self, end: usize, level: usize) -> Result<Tree, SyntaxError> {
        let flags = self.flags;
        let mut tree = Tree::Empty;
        let mut operator = None;
        let mut negated = false;
        while self.at < end {
            let start = self.at;
            let given = match self.chars[start] {
                '+' if flags.and => Some(Operator::And),
                '|' if flags.or => Some(Operator::Or),
                '-' if flags.not => {
                    negated = !negated;
                    self.at += 1;
                    continue;
                }
                _ => None,
            };
            let mut found = None;
            let mut leaf = true;
            match self.chars[start] {
                // The first of several operators counts, and none before the first clause.
                _ if given.is_some() => {
                    self.at += 1;
                    if !matches!(tree, Tree::Empty) {
                        operator = operator.or(given);
                    }
                }
                '(' if flags.precedence => {
                    self.at += 1;
                    match self.closing[start].filter(|close| *close < end) {
                        // Unclosed: as if it were not there.
                        None => {}
                        Some(close) if close == self.at => {
                            operator = None;
                            self.at += 1;
                        }
                        Some(_) if level == MAX_DEPTH => {
                            return Err(SyntaxError::TooDeep { position: start });
                        }
                        Some(close) => {
                            found = self.query(close, level + 1)?.node();
                            leaf = false;
                            self.at = close + 1;
                        }
                    }
                }
                ')' if flags.precedence => self.at += 1,
                '"' if flags.phrase => match self.phrase(end) {
                    Some(Node::Nothing) => operator = None,
                    phrase => found = phrase.map(|node| (node, 0)),
                },
                ' ' | '\t' | '\n' | '\r' if flags.whitespace => self.at += 1,
                _ => found = self.token(end).map(|node| (node, 0)),
            }
            let negate = std::mem::take(&mut negated);
            let Some((node, depth)) = found else {
                continue;
            };
            if leaf {
                self.count(start)?;
            }
            let (node, depth) = if negate {
                (not(node), depth + 1)
            } else {
                (node, depth)
            };
            let joint = operator.take().unwrap_or(self.default_operator);
            tree = tree.with(joint, node, depth);
            // Alternating operators nest as parentheses do.
            if tree.depth() > MAX_DEPTH {
                return Err(SyntaxError::TooDeep { position: start });
            }
        }
        Ok(tree)
    }

    fn count(&mut self, position: usize) -> Result<(), SyntaxError> {
        self.clauses += 1;
        if self.clauses > MAX_CLAUSES {
            return Err(SyntaxError::TooManyClauses { position });
        }
        Ok(())
    }

    /// A phrase; [`Node::Nothing`] if it is empty, and `None` if its quote is never closed, which
    /// is then as if it were not there.
    fn phrase(&mut self, end: usize) -> Option<Node> {
        self.at += 1;
        let start = self.at;
        let mut text = String::new();
        let mut at = start;
        loop {
            match *self.chars[..end].get(at)? {
                '"' => break,
                '\\' if self.flags.escape => {
                    at += 1;
                    text.push(*self.chars[..end].get(at)?);
                }
                c => text.push(c),
            }
            at += 1;
        }
        self.at = at + 1;
        let mut slop = None;
        if self.flags.slop && self.chars[..end].get(self.at) == Some(&'~') {
            // A tilde with nothing after it is no slop, as in Lucene.
            let last = self.at + 1 == end;
            let given = self.amount(end);
            slop = (!last).then_some(given);
        }
        if at == start {
            return Some(Node::Nothing);
        }
        Some(Node::Text {
            field: None,
            text,
            quoted: true,
            slop,
            fuzzy: None,
            boost: 1.0,
        })
    }

    /// A term, which may be fuzzy or a prefix.
    fn token(&mut self, end: usize) -> Option<Node> {
        let flags = self.flags;
        let mut text = String::new();
        let mut prefix = false;
        while let Some(c) = self.chars[..end].get(self.at) {
            let mut c = *c;
            if c == '\\' && flags.escape {
                prefix = false;
                self.at += 1;
                let Some(escaped) = self.chars[..end].get(self.at) else {
                    break;
                };
                c = *escaped;
            } else if self.ends_term(c) {
                break;
            } else if c == '~' && flags.fuzzy && !text.is_empty() {
                let edits = u8::try_from(self.amount(end).min(2)).unwrap_or(2);
                let mut node = Node::term(text);
                if let Node::Text { fuzzy, .. } = &mut node {
                    *fuzzy = (edits > 0).then_some(Fuzzy::Edits(edits));
                }
                return Some(node);
            } else {
                prefix = c == '*' && flags.prefix && !text.is_empty();
            }
            text.push(c);
            self.at += 1;
        }
        if prefix {
            text.pop();
            return Some(Node::Prefix {
                field: None,
                prefix: text,
                boost: 1.0,
            });
        }
        (!text.is_empty()).then(|| Node::term(text))
    }

    /// The number after a tilde: 2 if there is none, 0 if it is no number.
    fn amount(&mut self, end: usize) -> u32 {
        self.at += 1;
        let rest = &self.chars[self.at..end];
        let length = rest.iter().position(|c| self.ends_term(*c));
        let rest = &rest[..length.unwrap_or(rest.len())];
        self.at += rest.len();
        if rest.is_empty() {
            return 2;
        }
        let number = rest.iter().collect::<String>().parse::<i32>();
        number.map_or(0, |number| u32::try_from(number).unwrap_or(0))
    }

    fn ends_term(&self, c: char) -> bool {
        let flags = self.flags;
        match c {
            '"' => flags.phrase,
            '|' => flags.or,
            '+' => flags.and,
            '(' | ')' => flags.precedence,
            ' ' | '\t' | '\n' | '\r' => flags.whitespace,
            _ => false,
        }
    }
}

/// Everything but `node`; with a score of its own, as Lucene gives it.
fn not(node: Node) -> Node {
    Node::Bool {
        must: Vec::new(),
        should: vec![Node::All],
        must_not: vec![node],
    }
}
