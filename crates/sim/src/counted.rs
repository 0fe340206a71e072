//! What is counted in the runs of a simulated world.

/// A struct of counters, each with the words in which it is told.
macro_rules! counted {
    ($($name:ident: $text:literal,)+) => {
        /// How often each thing happened.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        #[expect(missing_docs, reason = "each is told in words by `Display`")]
        pub struct Marks {
            $(pub $name: u64,)+
        }

        impl Marks {
            /// Adds those of another run.
            pub fn add(&mut self, other: &Marks) {
                $(self.$name += other.$name;)+
            }

            /// What never happened.
            #[must_use]
            pub fn never(&self) -> Vec<&'static str> {
                let mut never = Vec::new();
                $(if self.$name == 0 { never.push($text); })+
                never
            }
        }

        impl $crate::sweep::Counts for Marks {
            fn count_in(&mut self, other: &Marks) {
                self.add(other);
            }
        }

        impl std::fmt::Display for Marks {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $(write!(f, "{} {}, ", self.$name, $text)?;)+
                write!(f, "nothing else counted")
            }
        }
    };
}

pub(crate) use counted;
