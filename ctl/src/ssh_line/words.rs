//! Splits a command line as a POSIX shell does (XCU 2.2 and 2.3), without being one: what a shell would look up, run
//! or combine is refused by name, and what only says where the command runs or writes is left out with a word.

use std::str::Chars;

use super::Refusal;

/// The words of one command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// In their order, without their quotes.
    pub words: Vec<String>,
    /// What was left out, and why.
    pub left_out: Vec<(&'static str, &'static str)>,
}

/// Splits `line`.
///
/// # Errors
/// A quote is not closed, or the line needs a shell.
pub fn split(line: &str) -> Result<Words, Refusal> {
    // Copied on Windows.
    let line = line.replace("\r\n", "\n");
    let (rest, done) = (line.chars(), Words::default());
    let mut splitter = Splitter { rest, word: None, done, is_target: false, is_over: false };
    while let Some(c) = splitter.next() {
        splitter.take(c)?;
    }
    splitter.end_word()?;
    if splitter.is_target {
        return Err(needs_shell("a redirection that leads nowhere"));
    }
    Ok(splitter.done)
}

struct Splitter<'a> {
    rest: Chars<'a>,
    word: Option<Word>,
    done: Words,
    /// The next word is where a redirection leads.
    is_target: bool,
    /// The command is over, and nothing may follow.
    is_over: bool,
}

#[derive(Default)]
struct Word {
    text: String,
    was_quoted: bool,
}

impl Splitter<'_> {
    /// The next character, but for where a line only goes on in the next one: that is nothing to a shell.
    fn next(&mut self) -> Option<char> {
        self.peek();
        self.rest.next()
    }

    fn peek(&mut self) -> Option<char> {
        loop {
            let mut ahead = self.rest.clone();
            match (ahead.next(), ahead.next()) {
                (Some('\\'), Some('\n')) => self.rest = ahead,
                (next, _) => return next,
            }
        }
    }

    /// Takes a character that stands outside quotes.
    fn take(&mut self, c: char) -> Result<(), Refusal> {
        match c {
            ' ' | '\t' => self.end_word()?,
            // Copied out of a page or a mail, where it looks like a space.
            '\u{a0}' | '\u{2007}' | '\u{202f}' => {
                self.end_word()?;
                self.leave_out("a no-break space", "it is taken for a space");
            }
            '\n' => {
                self.end_word()?;
                if self.is_target {
                    return Err(needs_shell("a redirection that leads nowhere"));
                }
                self.is_over |= !self.done.words.is_empty();
            }
            '#' if self.word.is_none() => {
                while self.rest.clone().next().is_some_and(|c| c != '\n') {
                    self.rest.next();
                }
                self.leave_out("the comment", "a shell takes no notice of it");
            }
            '\\' => self.backslash()?,
            '\'' => self.single_quoted()?,
            '"' => self.double_quoted()?,
            '`' => return Err(needs_shell("a command in backticks")),
            '$' => {
                if matches!(self.peek(), Some('\'' | '"')) {
                    return Err(needs_shell("a string after $"));
                }
                self.dollar()?;
                self.plain()?.push('$');
            }
            '&' | ';' | '|' | '(' | ')' => self.operator(c)?,
            '<' | '>' => self.redirection(c)?,
            '“' | '”' | '‘' | '’' => {
                return Err(Refusal::new(
                    format!("the command line has a typographic quote, {c}, which is no quote to a shell"),
                    "type ' or \" in its place",
                ));
            }
            c => self.plain()?.push(c),
        }
        Ok(())
    }

    /// The word that goes on here, or begins.
    fn word(&mut self) -> Result<&mut Word, Refusal> {
        if self.is_over {
            return Err(Refusal::new(
                "there is more than one command",
                "give the line of ssh alone; add the others by themselves",
            ));
        }
        Ok(self.word.get_or_insert_default())
    }

    fn plain(&mut self) -> Result<&mut String, Refusal> {
        Ok(&mut self.word()?.text)
    }

    fn quoted(&mut self) -> Result<&mut String, Refusal> {
        let word = self.word()?;
        word.was_quoted = true;
        Ok(&mut word.text)
    }

    fn end_word(&mut self) -> Result<(), Refusal> {
        let Some(word) = self.word.take() else { return Ok(()) };
        match std::mem::take(&mut self.is_target) {
            true => self.leave_out("the redirection", "a tunnel prints nothing"),
            false => self.done.words.push(word.text),
        }
        Ok(())
    }

    fn leave_out(&mut self, what: &'static str, why: &'static str) {
        if !self.done.left_out.contains(&(what, why)) {
            self.done.left_out.push((what, why));
        }
    }

    fn backslash(&mut self) -> Result<(), Refusal> {
        let is_drive =
            |word: &Word| matches!(word.text.as_bytes(), [drive, b':'] if drive.is_ascii_alphabetic());
        if self.word.as_ref().is_some_and(is_drive) {
            return Err(Refusal::new(
                "the command line has a path of Windows outside quotes, where a \\ means something else",
                r"put it between quotes, as in 'C:\Users\me\.ssh\id_ed25519'",
            ));
        }
        match self.rest.next() {
            Some(c) => self.quoted()?.push(c),
            None => self.plain()?.push('\\'),
        }
        Ok(())
    }

    fn single_quoted(&mut self) -> Result<(), Refusal> {
        self.quoted()?;
        loop {
            match self.rest.next() {
                Some('\'') => return Ok(()),
                Some(c) => self.quoted()?.push(c),
                None => return Err(open_quote()),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<(), Refusal> {
        self.quoted()?;
        loop {
            match self.next() {
                Some('"') => return Ok(()),
                Some('\\') => {
                    let quoted = self.rest.clone().next().filter(|c| matches!(c, '$' | '`' | '"' | '\\'));
                    if quoted.is_some() {
                        self.rest.next();
                    }
                    self.quoted()?.push(quoted.unwrap_or('\\'));
                }
                Some('`') => return Err(needs_shell("a command in backticks")),
                Some('$') => {
                    self.dollar()?;
                    self.quoted()?.push('$');
                }
                Some(c) => self.quoted()?.push(c),
                None => return Err(open_quote()),
            }
        }
    }

    /// Looks at what follows a `$`: only one that begins nothing stands for itself.
    fn dollar(&mut self) -> Result<(), Refusal> {
        match self.peek() {
            Some('(') => Err(needs_shell("a command in $(…)")),
            Some(c) if c.is_ascii_alphanumeric() || "_{[@*#?-$!".contains(c) => {
                let name: String =
                    self.rest.clone().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                Err(needs_shell(&match name.is_empty() {
                    true => "a variable".to_owned(),
                    false => format!("the variable ${name}"),
                }))
            }
            _ => Ok(()),
        }
    }

    fn operator(&mut self, c: char) -> Result<(), Refusal> {
        let next = self.peek();
        if c == '&' && next == Some('>') {
            // Both streams at once, as bash and zsh write it.
            self.end_word()?;
            self.next();
            return self.redirection('>');
        }
        if "|()".contains(c) || next == Some(c) {
            let what = match (c, next) {
                ('&', _) => "the && of two commands",
                ('|', Some('|')) => "the || of two commands",
                ('|', _) => "a pipe",
                (';', _) => "a ;;",
                _ => "a parenthesis",
            };
            return Err(needs_shell(what));
        }
        self.end_word()?;
        if self.is_target || self.is_over || self.done.words.is_empty() {
            return Err(needs_shell(&format!("a {c} without a command before it")));
        }
        self.is_over = true;
        if c == '&' {
            self.leave_out("the & at the end", "nbtunneld is in the background already");
        }
        Ok(())
    }

    fn redirection(&mut self, c: char) -> Result<(), Refusal> {
        // The number of a descriptor, if it touches: `2>`.
        match self.word.take_if(|word| !word.was_quoted && word.text.bytes().all(|b| b.is_ascii_digit())) {
            Some(_) => {}
            None => self.end_word()?,
        }
        if self.is_over || self.is_target {
            return Err(needs_shell("a redirection without a command before it"));
        }
        let more = self.peek().filter(|next| matches!(next, '<' | '>' | '&' | '|'));
        if more.is_some() {
            self.next();
        }
        match more {
            Some('<') if c == '<' => return Err(needs_shell("a here-document")),
            Some('<') => return Err(needs_shell("a redirection")),
            _ if self.peek() == Some('(') => return Err(needs_shell("a process substitution")),
            _ => self.is_target = true,
        }
        Ok(())
    }
}

fn open_quote() -> Refusal {
    Refusal::new(
        "the command line has a quote that is not closed",
        "put the whole line between quotes: 'ssh …'",
    )
}

fn needs_shell(what: &str) -> Refusal {
    Refusal::new(
        format!("the command line has {what}, and no shell runs here"),
        "give one plain command, with what a shell would put there; what stands in 'single quotes' is taken as it is",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line).unwrap().words
    }

    #[test]
    fn quotes_mean_what_they_mean_to_a_shell() {
        let cases: [(&str, &[&str]); 20] = [
            ("", &[]),
            (" \t\n", &[]),
            ("a  b\tc", &["a", "b", "c"]),
            ("'a b' c", &["a b", "c"]),
            (r#""a b"'c d'e"#, &["a bc de"]),
            ("'' \"\"", &["", ""]),
            (r"a\ b \'c", &["a b", "'c"]),
            (r#""a\"b\\c\d\$""#, &[r#"a"b\c\d$"#]),
            (r"'a\'", &[r"a\"]),
            (r#""C:\keys\k""#, &[r"C:\keys\k"]),
            ("a\\\n  b", &["a", "b"]),
            ("a\\\r\n  b\r\n", &["a", "b"]),
            ("a\\\nb", &["ab"]),
            ("\"a\\\nb\"", &["ab"]),
            ("a\\", &["a\\"]),
            ("$ ssh h", &["$", "ssh", "h"]),
            ("a$ \"$\" '$x`'", &["a$", "$", "$x`"]),
            ("a#b #c", &["a#b"]),
            ("*:1 {a,b} ~/k !x", &["*:1", "{a,b}", "~/k", "!x"]),
            ("\n\na b\n# c\n\n", &["a", "b"]),
        ];
        for (line, expected) in cases {
            assert_eq!(words(line), expected, "{line:?}");
        }
    }

    #[test]
    fn what_only_places_the_command_is_left_out_and_said() {
        for (line, notes) in [
            ("a &", 1),
            ("a&", 1),
            ("a; ", 0),
            ("a ;\n", 0),
            ("a # b", 1),
            ("a > /dev/null", 1),
            ("a >/dev/null 2>&1 &", 2),
            ("a &>/dev/null", 1),
            ("a >>log </dev/null", 1),
            ("2>x a", 1),
        ] {
            let split = split(line).unwrap();
            assert_eq!((split.words, split.left_out.len()), (vec!["a".to_owned()], notes), "{line}");
        }
        assert_eq!(words("a 2 >x"), ["a", "2"], "a number that does not touch is a word");
        assert_eq!(words("a '2'>x"), ["a", "2"], "and so is a quoted one");
    }

    #[test]
    fn what_needs_a_shell_is_named() {
        for (line, what) in [
            ("a $HOME", "the variable $HOME"),
            ("a \"${HOME}\"", "a variable"),
            ("a $1", "the variable $1"),
            ("a $(b)", "a command in $(…)"),
            ("a `b`", "a command in backticks"),
            ("a \"`b`\"", "a command in backticks"),
            ("a | b", "a pipe"),
            ("a || b", "the || of two"),
            ("a && b", "the && of two"),
            ("(a)", "a parenthesis"),
            ("a <<b", "a here-document"),
            ("a <(b)", "a process substitution"),
            ("a >", "a redirection that leads nowhere"),
            ("& a", "a & without a command"),
            ("a & &", "a & without a command"),
            ("a 'b", "a quote that is not closed"),
            ("a \"b", "a quote that is not closed"),
            ("a $'b'", "a string after $"),
            (r"a -i C:\keys\k", "a path of Windows outside quotes"),
            ("a; b", "more than one command"),
            ("a & b", "more than one command"),
            ("a\nb", "more than one command"),
            ("a “b”", "a typographic quote, “"),
        ] {
            let refusal = split(line).unwrap_err();
            assert!(refusal.message.contains(what), "{line}: {refusal:?}");
            assert!(!refusal.hint.is_empty());
        }
    }
}
