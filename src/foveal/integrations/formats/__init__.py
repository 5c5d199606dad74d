"""The file formats of the field, one module each, with the same names in the same order.

| Module | `--to`, `--from` | Holds |
|---|---|---|
| `trl` | trl | runs (supervised training), question sets (GRPO) |
| `llamafactory` | llamafactory | runs |
| `verl` | verl | question sets |
| `hub` | hub-folder | runs, question sets |
| `inspect` | inspect | question sets |

Each has `write_trajectories` or `write_questions` or both, and `read`. What passes between them and foveal's own
records is a `Dialogue` or a `Task` (`dialogue`); `transfer` carries whole sets over. docs/formats.md says what every
format keeps.
"""
