//! Dialogues that PAM does not lead.

use anyhow::{Result, ensure};
use nbtunnel_tests::strange_server::{Round, StrangeServer};

use super::{asked_by, unlock};

const NOTHING: Round = Round { title: "", instructions: "", prompts: &[], answers: &[] };

#[test]
fn rounds_with_no_two_and_three_questions_are_answered_each_in_its_order() -> Result<()> {
    let server = StrangeServer::asking(vec![
        NOTHING,
        Round {
            title: "Two things",
            instructions: "first this\nthen that",
            prompts: &[("Pet", true), ("Word", false)],
            answers: &["Rex", "s3cret"],
        },
        Round { title: "Read this", instructions: "nothing to answer", ..NOTHING },
        Round {
            title: "",
            instructions: "",
            prompts: &[("One?", true), ("Two:", false), ("", true)],
            answers: &["1", "", "3"],
        },
    ])?;
    let world = asked_by(server.tunnel())?;
    let mut person = unlock(&world, "alice")?;
    person.sees("alice: somebody@127.0.0.1")?;
    person.sees("  | Two things")?;
    person.sees("  | then that")?;
    person.answers("Pet:", "Max\x7f\x7f\x7fRex")?;
    person.answers("Word:", "s3cret")?;
    person.sees("  | nothing to answer")?;
    person.answers("One?", "1")?;
    person.answers("Two:", "")?;
    person.answers("answer:", "3")?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    ensure!(person.shown().contains("Rex") && !person.shown().contains("s3cret"), "{}", person.shown());
    let none: Vec<String> = Vec::new();
    ensure!(server.heard().len() == 4 && server.heard()[0] == none, "{:?}", server.heard());
    world.wait_for("alice", "up")?;
    Ok(())
}

#[test]
fn a_wrong_answer_is_asked_for_again_three_times_and_then_given_up() -> Result<()> {
    let ask = Round { prompts: &[("Code", false)], answers: &["right"], ..NOTHING };
    let server = StrangeServer::asking(vec![ask])?;
    let world = asked_by(server.tunnel())?;
    let mut person = unlock(&world, "alice")?;
    for _ in 0..3 {
        person.answers("Code:", "wrong")?;
    }
    ensure!(person.ends()? == 4, "{}", person.shown());
    ensure!(server.heard().len() == 3, "{:?}", server.heard());
    let told = person.shown().matches("what was answered was not accepted").count();
    ensure!(told == 2, "{}", person.shown());
    super::parked(&world, "alice")
}

#[test]
fn a_server_cannot_move_the_cursor_or_speak_for_us() -> Result<()> {
    let ask = Round {
        title: "\x1b[2J\x1b[1;1Htitle",
        instructions: "a\x1b]0;owned\x07b\r\u{202e}c\u{9b}31m\n\x08\x08alice: up",
        prompts: &[("\x1b[8mCode\r\n", false)],
        answers: &["x"],
    };
    let server = StrangeServer::asking(vec![ask])?;
    let world = asked_by(server.tunnel())?;
    let mut person = unlock(&world, "alice")?;
    person.answers("Code:", "x")?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    let shown = person.shown();
    let harmful = |c: char| (c.is_control() && !matches!(c, '\r' | '\n')) || c == '\u{202e}';
    ensure!(!shown.chars().any(harmful), "{shown:?}");
    // Its lines are marked as its own.
    ensure!(shown.contains("  | alice: up") && !shown.contains("\nalice: up"), "{shown:?}");
    Ok(())
}
