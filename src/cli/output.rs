//! Everything that goes to the terminal: text for people, or exactly one JSON document.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// Colours of the status view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Green,
    Yellow,
    Red,
    Blue,
    Magenta,
    Cyan,
    White,
    Dim,
    Bold,
}

/// Where answers go.
#[derive(Debug)]
pub(super) struct Out {
    json: bool,
    colour: bool,
    stdout: io::Stdout,
}

impl Out {
    /// Colour only on a terminal, and not where `NO_COLOR` asks for none.
    pub(super) fn new(json: bool) -> Self {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            json,
            colour,
            stdout: io::stdout(),
        }
    }

    /// With `--json` prints `value` and answers true.
    pub(super) fn json(&mut self, value: &impl Serialize) -> io::Result<bool> {
        if self.json {
            let text = serde_json::to_string_pretty(value)?;
            self.line(&text)?;
        }
        Ok(self.json)
    }

    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.text(text)?;
        self.text("\n")
    }

    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        self.stdout.lock().write_all(text.as_bytes())?;
        if text.ends_with('\n') {
            self.stdout.lock().flush()
        } else {
            Ok(())
        }
    }

    /// Errors go to stderr; with `--json` the answer is an object with `error`.
    pub(super) fn error(&mut self, message: &str) -> io::Result<()> {
        self.json(&serde_json::json!({ "error": message }))?;
        writeln!(io::stderr().lock(), "lucid: {message}")
    }

    pub(super) fn paint(&self, colour: Colour, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Red => "31;1",
            Colour::Blue => "34;1",
            Colour::Magenta => "35",
            Colour::Cyan => "36",
            Colour::White => "37;1",
            Colour::Dim => "2",
            Colour::Bold => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
