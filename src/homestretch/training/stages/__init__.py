"""The steps of a run, one file each: `run(context, config, folder)` reads what came before and fills its folder."""
