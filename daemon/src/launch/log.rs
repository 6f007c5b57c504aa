//! Text that a program at the far end wrote, for a person's terminal: no token, and nothing that moves the cursor.

/// So much of a log is shown: with the rest of an answer it fits a frame of the control socket.
pub(super) const MOST: usize = (1 << 20) - (64 << 10);

/// So much of a log stands in a failure's message.
const MOST_IN_MESSAGE: usize = 1200;

/// A log as it may be shown.
pub(super) fn presentable(text: &str) -> String {
    let mut text = harmless(&without_tokens(text));
    if text.len() > MOST {
        let from = (text.len() - MOST..text.len()).find(|at| text.is_char_boundary(*at));
        text.drain(..from.unwrap_or_default());
    }
    text
}

/// The last lines of a log, in a message of one line.
pub(super) fn lines_in_one(text: &str) -> String {
    let text = without_tokens(text);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let one = harmless(&lines.join(" / "));
    let from = one.len().saturating_sub(MOST_IN_MESSAGE);
    match (from..one.len()).find(|at| one.is_char_boundary(*at)) {
        Some(from) if from > 0 => format!("…{}", &one[from..]),
        Some(_) | None => one,
    }
}

/// The last line that says something.
pub(super) fn last_line(text: &str) -> &str {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("")
}

/// With everything spelled out that moves a cursor or turns writing round.
pub(super) fn harmless(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => clean.push(c),
            c if is_harmful(c) => clean.extend(c.escape_unicode()),
            c => clean.push(c),
        }
    }
    clean
}

fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// What a secret follows, in lower case.
const BEFORE_SECRETS: [&str; 4] = ["token=", "token:", "authorization: token ", "password="];

/// With a `…` in the place of each token.
fn without_tokens(text: &str) -> String {
    // Bytes stay where they are in ASCII's lower case.
    let lower = text.to_ascii_lowercase();
    let mut clean = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(secret) = BEFORE_SECRETS
        .iter()
        .filter_map(|word| lower[at..].find(word).map(|found| at + found + word.len()))
        .min()
    {
        clean.push_str(&text[at..secret]);
        let ends = |c: char| {
            c.is_whitespace() || matches!(c, '&' | '"' | '\'' | '<' | '>' | '#' | ')' | ']' | '\u{1b}')
        };
        at = text[secret..].find(ends).map_or(text.len(), |length| secret + length);
        if at > secret {
            clean.push('…');
        }
    }
    clean.push_str(&text[at..]);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_shown_wherever_it_stands() {
        for (text, shown) in [
            ("http://h:1/lab?token=abc123&x=1 b", "http://h:1/lab?token=…&x=1 b"),
            ("?TOKEN=abc\n?token=def", "?TOKEN=…\n?token=…"),
            ("Authorization: token abc", "Authorization: token …"),
            ("--IdentityProvider.token='' ?token=", "--IdentityProvider.token='' ?token="),
            ("tökens are fine", "tökens are fine"),
        ] {
            assert_eq!(presentable(text), shown);
        }
    }

    #[test]
    fn what_moves_the_cursor_is_spelled_out() {
        assert_eq!(presentable("a\x1b[2Jb\r\n\tc\u{202e}"), "a\\u{1b}[2Jb\\u{d}\n\tc\\u{202e}");
    }

    #[test]
    fn a_message_holds_the_last_lines_alone() {
        let long = "été\n".repeat(1000) + "ModuleNotFoundError: no jupyter\n\n";
        let one = lines_in_one(&long);
        assert!(
            one.len() <= MOST_IN_MESSAGE + 8 && one.ends_with("no jupyter") && !one.contains('\n'),
            "{one}"
        );
        assert!(presentable(&"é".repeat(MOST)).len() <= MOST);
    }
}
