//! What the documents show is what happens: sessions, commands, configurations and lines of shell. Every document is
//! found and every block of it is looked at, so that none is forgotten. CONTRIBUTING.md says what the marks above
//! blocks mean.

use std::fs;

use crate::blocks::shell::Shell;
use crate::blocks::{self, Block, Document, Mark, documents, root, session};
use crate::harness::clock::Clock;
use crate::harness::features::{Feature, NOT_EVERYWHERE, skip};
use crate::harness::{Ask, Server, Setup};
use redis::Value;

#[test]
fn the_sessions_are_what_a_server_answers() {
    let mut commands = 0;
    for document in documents() {
        let blocks = of(&document, "redis-cli");
        if blocks.is_empty() {
            continue;
        }
        let (server, clock) = Clock::start();
        for block in blocks {
            commands += session::commands(&block.text);
            let real = session::play(&block.text, &server, &clock);
            assert!(
                block.text == real,
                "{}, the session in line {}, really goes:\n{real}",
                document.name,
                block.line
            );
        }
    }
    assert!(commands > 0);
}

#[test]
fn the_commands_without_replies_are_carried_out() {
    for document in documents() {
        for block in of(&document, "redis") {
            carry_out(block).unwrap_or_else(|error| panic!("{}: {error}", at(&document, block)));
        }
    }
}

#[test]
fn a_server_starts_with_every_piece_of_configuration() {
    for document in documents() {
        for block in of(&document, "conf") {
            // The test ends here if it does not.
            eprintln!("{}", at(&document, block));
            configure(block);
        }
    }
}

#[test]
fn the_lines_of_shell_do_what_they_say() {
    let mut run = 0;
    for document in documents() {
        let shell = Shell::new();
        let mut server = None;
        let mut printed: Option<String> = None;
        for block in &document.blocks {
            let place = at(&document, block);
            if block.is_run("sh") {
                let server = server.get_or_insert_with(Server::start);
                let output = shell.run(&block.text(), server);
                printed = Some(output.unwrap_or_else(|error| panic!("{place} {error}")));
                run += 1;
            } else if block.mark() == Ok(Some(Mark::Output)) {
                let printed = printed
                    .take()
                    .unwrap_or_else(|| panic!("{place} is the output of nothing"));
                assert_eq!(block.text, printed, "{place}");
            }
        }
    }
    assert!(run > 0);
}

#[test]
fn what_serves_answers() {
    let mut served = 0;
    for document in documents() {
        for block in &document.blocks {
            if block.mark() == Ok(Some(Mark::Serves)) {
                let serve = || Shell::new().serve(&block.text());
                // Somebody may have taken the port meanwhile.
                serve()
                    .or_else(|_| serve())
                    .unwrap_or_else(|error| panic!("{} {error}", at(&document, block)));
                served += 1;
            }
        }
    }
    assert!(served > 0);
}

#[test]
fn what_only_some_servers_can_do_is_run_on_those() {
    let mut missing = Vec::new();
    let mut done = 0;
    for document in documents() {
        for block in &document.blocks {
            let Ok(Some(Mark::RunOn(what))) = block.mark() else {
                continue;
            };
            let place = at(&document, block);
            if !feature(what).is_some_and(Feature::is_there) {
                missing.push(format!("{place} needs {what}"));
                continue;
            }
            match block.language.as_str() {
                "redis" => carry_out(block),
                "conf" => {
                    configure(block);
                    Ok(())
                }
                _ => Shell::new()
                    .run(&block.text(), &Server::start())
                    .map(|_| ()),
            }
            .unwrap_or_else(|error| panic!("{place}: {error}"));
            done += 1;
        }
    }
    if done == 0 && !missing.is_empty() {
        skip(
            "what_only_some_servers_can_do_is_run_on_those",
            &missing.join("; "),
        );
    }
}

#[test]
fn every_block_says_who_runs_it() {
    let mut complaints = Vec::new();
    for document in documents() {
        for block in &document.blocks {
            let complaint = block.complaint().or_else(|| unkept(&document, block));
            complaints.extend(complaint.map(|what| format!("{}: {what}", at(&document, block))));
        }
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn a_block_that_nobody_runs_is_found() {
    for (text, complaint) in [
        ("```sh\nls\n```", Some("who runs it?")),
        ("<!-- run -->\n\n```sh\nls\n```", Some("who runs it?")),
        ("<!-- run -->\n```sh\nls\n```", None),
        ("1. <!-- run -->\n", None),
        (
            "<!-- not run: it needs a second machine -->\n```sh\nls\n```",
            None,
        ),
        ("<!-- not run: -->\n```sh\nls\n```", Some("is no mark")),
        ("<!-- runs -->\n```sh\nls\n```", Some("is no mark")),
        (
            "<!-- run -->\n```python\n1\n```",
            Some("is no mark of a block of `python`"),
        ),
        (
            "<!-- run by tests/documents/code_blocks.rs: x -->\n```sh\nls\n```",
            None,
        ),
        ("```\nls\n```", Some("has no language")),
        (
            "- item\n  ```bash\n  ls\n  ```",
            Some("the language of shells is `sh`"),
        ),
        ("```text\nls\n```\n<!-- output -->\n```text\na\n```", None),
    ] {
        let found: Vec<String> = blocks::blocks(text)
            .unwrap()
            .iter()
            .filter_map(Block::complaint)
            .collect();
        match complaint {
            Some(complaint) => assert!(
                found.len() == 1 && found[0].contains(complaint),
                "{text}\n{found:?}"
            ),
            None => assert!(found.is_empty(), "{text}\n{found:?}"),
        }
    }
    assert!(blocks::blocks("```sh\nls\n").is_err());
    assert!(blocks::blocks("~~~sh\nls\n~~~\n").is_err());
}

#[test]
fn a_line_of_shell_that_fails_is_found() {
    let shell = Shell::new();
    let server = Server::start();
    let reply =
        "1) (integer) 1\n2) (integer) 3\n3) (integer) 2\n4) (integer) 0\n5) (integer) 60000\n";
    assert_eq!(
        shell.run("redis-cli RL.CHECK k 3 60", &server),
        Ok(reply.into())
    );
    // In a pipe, as in a script, the reply has no numbers.
    assert_eq!(
        shell.run("redis-cli RL.CHECK k 3 60 | head -n 3 | tail -n 1", &server),
        Ok("1\n".into())
    );
    for wrong in ["false; true", "redis-cli RL.CHECK k 0 60", "echo $unset"] {
        assert!(shell.run(wrong, &server).is_err(), "{wrong}");
    }
    assert!(shell.serve("echo no server").is_err());
}

#[test]
fn a_command_that_fails_is_found() {
    for (lines, fails) in [
        ("SET a 1\nINCR a", false),
        ("SET a x\nINCR a", true),
        ("SET a x\nMULTI\nINCR a\nEXEC", true),
    ] {
        let text = format!("```redis\n{lines}\n```\n");
        let blocks = blocks::blocks(&text).unwrap();
        assert_eq!(carry_out(&blocks[0]).is_err(), fails, "{text}");
    }
}

/// The blocks of a language that are run on every server.
fn of<'a>(document: &'a Document, language: &str) -> Vec<&'a Block> {
    let blocks = document.blocks.iter();
    blocks.filter(|block| block.is_run(language)).collect()
}

fn at(document: &Document, block: &Block) -> String {
    format!("{}:{}", document.name, block.line)
}

/// Sends the commands of a block to a server of its own; the one that was answered with an error.
fn carry_out(block: &Block) -> Result<(), String> {
    let server = Setup::new()
        .arguments(["--enable-module-command", "yes"])
        .start();
    let mut client = server.connect();
    for line in block.text().lines().filter(|line| !line.is_empty()) {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        let reply = client.ask_bytes(&words);
        match reply.map(|value| first_error(&value)) {
            Err(error) | Ok(Some(error)) => return Err(format!("{line}: {error}")),
            Ok(None) => {}
        }
    }
    Ok(())
}

/// The error in a reply that has one, as that of a transaction may.
fn first_error(value: &Value) -> Option<String> {
    match value {
        Value::ServerError(error) => Some(format!("{error:?}")),
        Value::Array(values) => values.iter().find_map(first_error),
        _ => None,
    }
}

/// Starts a server with the lines of a block, but for its addresses and paths, and asks it for a decision.
fn configure(block: &Block) {
    let mut setup = Setup::new();
    let mut lines = String::new();
    for line in block.text().lines() {
        match line.split_whitespace().next() {
            Some("loadmodule") => setup = setup.without_module(),
            Some("port" | "dir" | "logfile" | "unixsocket") => continue,
            _ => {}
        }
        lines.push_str(line);
        lines.push('\n');
    }
    let file = setup.dir().join("redis.conf");
    fs::write(&file, lines).unwrap();
    let server = setup
        .arguments(["--include", file.to_str().unwrap()])
        .start();
    let mut client = server.connect();
    if let Some(password) = block
        .text
        .lines()
        .find_map(|line| line.strip_prefix("requirepass "))
    {
        client.ask(&format!("AUTH {password}"));
    }
    client.decide("RL.CHECK k 1 60");
}

/// What has this name.
fn feature(what: &str) -> Option<&'static Feature> {
    NOT_EVERYWHERE
        .iter()
        .find(|feature| feature.what() == what)
        .copied()
}

/// What a mark promises and does not keep.
fn unkept(document: &Document, block: &Block) -> Option<String> {
    match block.mark() {
        Ok(Some(Mark::RunBy(file, name))) => {
            let Ok(text) = fs::read_to_string(root().join(file)) else {
                return Some(format!("there is no {file}"));
            };
            let document = document.name.rsplit('/').next().unwrap();
            (!text.contains(document) || !text.contains(name))
                .then(|| format!("{file} does not run \"{name}\" of {document}"))
        }
        Ok(Some(Mark::RunOn(what))) if feature(what).is_none() => Some(format!(
            "tests/server/harness/features.rs knows no \"{what}\""
        )),
        _ => None,
    }
}
