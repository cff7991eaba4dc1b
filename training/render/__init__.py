"""Pictures of nutrition tables and food packs, drawn from a seed, to pre-train detectors on."""
