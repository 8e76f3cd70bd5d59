//! Commands of the README with what they print, so that tests can run them word for word.

/// A command as it is typed, and the output that the README shows.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is typed, without the prompts.
    pub command: String,
    /// What the README shows for it; `…` stands for anything.
    pub output: String,
}

/// The steps of all blocks whose first line is "```" and these words.
pub fn steps(readme: &str, words: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line.strip_prefix("```") == Some(words);
        } else if inside && let Some(command) = line.strip_prefix("$ ") {
            let command = command.to_owned();
            steps.push(Step {
                command,
                output: String::new(),
            });
        } else if inside {
            let step = steps.last_mut().expect("a command before its output");
            match line.strip_prefix("> ") {
                Some(more) => step.command.push_str(&format!("\n{more}")),
                None => step.output.push_str(&format!("{line}\n")),
            }
        }
    }
    steps
}

/// Whether the text is what the pattern shows, with `…` for anything.
pub fn shows(pattern: &str, text: &str) -> bool {
    let parts: Vec<&str> = pattern.trim().split('…').collect();
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    let text = text.trim();
    if parts.len() == 1 {
        return text == first;
    }
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    for part in &parts[1..parts.len() - 1] {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_can_fail() {
        assert!(shows("{\"a\":1,…,\"c\":3}", "{\"a\":1,\"b\":2,\"c\":3}\n"));
        for text in ["{\"a\":2,\"b\":2,\"c\":3}", "{\"a\":1,\"b\":2}", ""] {
            assert!(!shows("{\"a\":1,…,\"c\":3}", text), "{text}");
        }
        assert!(!shows("a", "ab"));
    }
}
