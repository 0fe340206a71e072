//! `millrace completions`: what a shell completes.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::generate;

use crate::args::{Cli, ShellArg};

/// Prints the script for that shell.
///
/// # Errors
/// Standard output's.
pub(super) fn run(shell: ShellArg) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(&script(shell))?;
    out.flush()
}

fn script(shell: ShellArg) -> Vec<u8> {
    let mut text = Vec::new();
    let shell = match shell {
        ShellArg::Bash => clap_complete::Shell::Bash,
        ShellArg::Zsh => clap_complete::Shell::Zsh,
        ShellArg::Fish => clap_complete::Shell::Fish,
    };
    generate(shell, &mut Cli::command(), "millrace", &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(command: &clap::Command, all: &mut Vec<String>) {
        for sub in command.get_subcommands() {
            all.push(sub.get_name().to_owned());
            names(sub, all);
        }
    }

    #[test]
    fn every_shell_is_told_every_verb() {
        let mut verbs = Vec::new();
        names(&Cli::command(), &mut verbs);
        assert!(verbs.len() > 15, "{verbs:?}");
        for shell in [ShellArg::Bash, ShellArg::Zsh, ShellArg::Fish] {
            let script = String::from_utf8(script(shell)).unwrap();
            for verb in &verbs {
                assert!(script.contains(verb.as_str()), "{shell:?} is not told {verb}");
            }
        }
    }
}
