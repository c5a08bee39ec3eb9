//! The documents of the repository, and the blocks of code in them. What the marks mean is in CONTRIBUTING.md.

pub mod session;
pub mod shell;

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::module;

/// The folders with documents, and the root itself.
const FOLDERS: &[&str] = &["docs", "integrations", "examples"];

/// The languages that tests run by themselves.
const RUN: &[&str] = &["redis-cli", "redis", "conf"];

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A document.
pub struct Document {
    /// Where it is, from the root of the repository.
    pub name: String,
    pub blocks: Vec<Block>,
}

/// A block of code.
pub struct Block {
    /// Where it starts.
    pub line: usize,
    pub language: String,
    /// The comment above it, if there is one.
    pub mark: Option<String>,
    /// Lines that end with a line feed.
    pub text: String,
}

/// Who runs a block.
#[derive(Debug, PartialEq, Eq)]
pub enum Mark<'a> {
    Run,
    Serves,
    /// Run on servers that have this.
    RunOn(&'a str),
    /// Run by a test in this file, under this name.
    RunBy(&'a str, &'a str),
    NotRun,
    Output,
}

/// All documents of the repository.
pub fn documents() -> Vec<Document> {
    let mut paths = files(root(), false);
    for folder in FOLDERS {
        paths.extend(files(&root().join(folder), true));
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            Document {
                blocks: blocks(&text).unwrap_or_else(|error| panic!("{name}, {error}")),
                name,
            }
        })
        .collect()
}

/// The documents in a folder, but not those of others: in a virtual environment, or hidden.
fn files(folder: &Path, below: bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if below && !name.starts_with('.') && !path.join("pyvenv.cfg").exists() {
                found.extend(files(&path, true));
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found
}

/// The blocks of a text; if they cannot be read, why.
pub fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().zip(1..);
    let mut above = "";
    while let Some((line, number)) = lines.next() {
        let inner = line.trim_start();
        if inner.starts_with("~~~") {
            return Err(format!("line {number}: blocks are marked with ```"));
        }
        if inner.starts_with("```") {
            let language = inner.trim_start_matches('`');
            let (indent, fence) = line.split_at(line.len() - inner.len());
            let fence = &fence[..fence.len() - language.len()];
            let mut block = Block {
                line: number,
                language: language.into(),
                mark: above
                    .trim()
                    .strip_prefix("<!--")
                    .and_then(|rest| rest.strip_suffix("-->"))
                    .map(|mark| mark.trim().into()),
                text: String::new(),
            };
            loop {
                match lines.next() {
                    Some((line, _)) if line.trim() == fence => break,
                    Some((line, _)) => {
                        block
                            .text
                            .push_str(line.strip_prefix(indent).unwrap_or(line));
                        block.text.push('\n');
                    }
                    None => return Err(format!("line {number}: the block has no end")),
                }
            }
            blocks.push(block);
        }
        above = line;
    }
    Ok(blocks)
}

impl Block {
    /// Who runs it, by its mark.
    pub fn mark(&self) -> Result<Option<Mark<'_>>, String> {
        let Some(mark) = &self.mark else {
            return Ok(None);
        };
        let mark = match mark.as_str() {
            "run" => Mark::Run,
            "serves" => Mark::Serves,
            "output" => Mark::Output,
            mark => {
                if let Some(what) = mark.strip_prefix("run on servers with ") {
                    Mark::RunOn(what)
                } else if let Some((file, name)) = mark
                    .strip_prefix("run by ")
                    .and_then(|rest| rest.split_once(": "))
                {
                    Mark::RunBy(file, name)
                } else if mark
                    .strip_prefix("not run: ")
                    .is_some_and(|why| why.len() > 3)
                {
                    Mark::NotRun
                } else {
                    return Err(format!("`{mark}` is no mark"));
                }
            }
        };
        Ok(Some(mark))
    }

    /// Whether it is of this language and run wherever the tests run. Of shell only what says so is run.
    pub fn is_run(&self, language: &str) -> bool {
        self.language == language
            && match self.mark() {
                Ok(None) => RUN.contains(&language),
                mark => mark == Ok(Some(Mark::Run)),
            }
    }

    /// Why it cannot be told who runs it.
    pub fn complaint(&self) -> Option<String> {
        let mark = match self.mark() {
            Ok(mark) => mark,
            Err(error) => return Some(error),
        };
        let language = self.language.as_str();
        let fits = match mark {
            None => language != "sh",
            Some(Mark::Run) => language == "sh" || RUN.contains(&language),
            Some(Mark::RunOn(_)) => ["sh", "redis", "conf"].contains(&language),
            Some(Mark::Serves) => language == "sh",
            Some(Mark::Output) => language == "text",
            Some(Mark::RunBy(..) | Mark::NotRun) => true,
        };
        match language {
            "" => Some("the block has no language: `text` is what is only shown".into()),
            "bash" | "shell" | "console" => Some("the language of shells is `sh` here".into()),
            _ if fits => None,
            "sh" if mark.is_none() => Some(
                "who runs it? `<!-- run -->` above it, or one of the other marks in CONTRIBUTING.md"
                    .into(),
            ),
            _ => Some(format!("{mark:?} is no mark of a block of `{language}`")),
        }
    }

    /// Its text with the module under test in the place of the one that the document names.
    pub fn text(&self) -> String {
        with_module(&self.text)
    }
}

/// A text with the module under test in the place of every path of one.
fn with_module(text: &str) -> String {
    const NAME: &str = "libredis_ratelimit.so";
    let mut done = String::new();
    let mut pieces = text.split(NAME).peekable();
    while let Some(piece) = pieces.next() {
        // The path ends where the name begins, and is as long as there is no blank or quote.
        let path = piece
            .rfind([' ', '\n', '"', '\'', '='])
            .map_or(0, |at| at + 1);
        if pieces.peek().is_some() && piece[path..].starts_with('/') {
            done.push_str(&piece[..path]);
            done.push_str(&module().display().to_string());
        } else {
            done.push_str(piece);
            if pieces.peek().is_some() {
                done.push_str(NAME);
            }
        }
    }
    done
}
