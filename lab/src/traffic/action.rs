//! What visitors do, and how often.

use kit::Random;

/// What a visitor may do; the first number is how often, relative to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Load,
    Create,
    Toggle,
    Delete,
    Error,
    Slow,
    Bulk,
    Smoke,
    Circuit,
    Browse,
    Buy,
    Transact,
}

const MIX: [(u32, Action); 12] = [
    (40, Action::Load),
    (20, Action::Create),
    (16, Action::Toggle),
    (12, Action::Delete),
    (4, Action::Error),
    (3, Action::Slow),
    (2, Action::Bulk),
    (1, Action::Smoke),
    (22, Action::Circuit),
    (16, Action::Browse),
    (18, Action::Buy),
    (6, Action::Transact),
];

impl Action {
    pub(super) fn choose(random: &mut Random) -> Self {
        let total: u32 = MIX.iter().map(|(weight, _)| weight).sum();
        let mut at = (random.unit() * f64::from(total)) as u32;
        for (weight, action) in MIX {
            if at < weight {
                return action;
            }
            at -= weight;
        }
        Self::Load
    }

    /// The page's `X-Operation`; the page sends none with the smoke test.
    pub(super) fn operation(self) -> &'static str {
        match self {
            Self::Load => "load-tasks",
            Self::Create => "create-task",
            Self::Toggle => "toggle-task",
            Self::Delete => "delete-task",
            Self::Error => "simulate-error",
            Self::Slow => "simulate-slow",
            Self::Bulk => "bulk-create",
            Self::Smoke => "db-smoke",
            Self::Circuit => "test-circuit",
            Self::Browse => "browse-shop",
            Self::Buy => "buy",
            Self::Transact => "create-transaction",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_happens_and_the_frequent_ones_often() {
        let mut random = Random::new(3);
        let chosen: Vec<Action> = (0..2_000).map(|_| Action::choose(&mut random)).collect();
        let count = |action| chosen.iter().filter(|chosen| **chosen == action).count();
        for (_, action) in MIX {
            assert!(count(action) > 0, "{action:?}");
        }
        assert!(count(Action::Load) > count(Action::Create) && count(Action::Create) > count(Action::Smoke));
    }
}
