//! The options of pairing, as the configuration has them.

use campanile::config::Config;
use campanile::pairing::PairingOptions;

pub(super) fn pairing_options(config: &Config) -> PairingOptions {
    let (pairing, defaults) = (&config.pairing, PairingOptions::default());
    PairingOptions {
        code_length: pairing.code_length,
        expires_in: pairing.expires_in,
        // A request may say more than is usual.
        expires_in_max: defaults.expires_in_max.max(pairing.expires_in),
        pending_per_player_max: pairing.max_pending_per_player,
        ..defaults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_configuration_are_those_of_the_library() {
        let defaults = PairingOptions::default();
        assert_eq!(pairing_options(&Config::default()), defaults);
    }
}
