"""Bad options and checkpoints end a command with one line that names them and exit code 2."""

import pytest
import torch
from bad_files import TINY, refused, run


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("detect good.mrc", "Missing option '--output'"),
        ("match good.mrc -o picks --method dog --step 20", "--step: is for templates, and --method dog has none"),
        ("match good.mrc -o picks --step 1", "an angular step of 1 degrees makes 14851067 rotations"),
        ("match good.mrc -o picks --step 0.5", "--step 0.5: Input should be greater"),
        ("match good.mrc -o picks --radius -3", "--radius -3.0: Input should be greater"),
        ("match good.mrc -o picks --set mask_radius=-3", "match: mask_radius = -3: Input should be greater"),
        ("match good.mrc -o picks --tilt-range 60:-60", "tilt range 60 to -60 degrees; give two limits in order"),
        ("match good.mrc -o picks --defocus 30000", "--defocus 30000.0: more than 100 um"),
        ("match good.mrc -o picks --template absent.pdb", "error: absent.pdb: no such file"),
        ("match good.mrc -o picks --template banana", "error: unknown structure 'banana'"),
        ("match good.mrc -o picks --template good.csv", "error: good.csv: unknown type"),
        ("match good.mrc -o picks --template good.mrc --number 0", "'--number'"),
        ("match good.mrc -o picks --template 1s3x --voxel-size 100", "voxels of 100 A are too large for 1s3x"),
        ("match good.mrc -o picks --template 1s3x --voxel-size 1", "good.mrc: voxels of 1 A are too fine for"),
        ("match good.mrc -o picks --template 1s3x --device teapot", "--device teapot"),
        ("match good.mrc -o good.csv --template 1s3x", "--output good.csv: cannot be written to (it is a file)"),
        ("match good.mrc -o picks --template 1s3x --format banana", "--format banana"),
        ("average two.csv good.mrc --step 1 -o average", "a step of 1 degrees makes 14851067 rotations"),
        ("average two.csv good.mrc --tilts 60 -60 -o average", "tilt range 60 to -60 degrees; give two"),
        ("average two.csv good.mrc --radius nan -o average", "radius is nan"),
        ("average two.csv good.mrc --radius 30 --reference absent.mrc -o average", "absent.mrc: no such file"),
        ("average two.csv good.mrc --radius 30 --reference negative.mrc -o average", "voxels of -10 x -10"),
        ("average two.csv good.mrc -o good.csv", "good.csv: cannot be written to"),
        ("targets good.mrc two.csv --shape banana -o masks", "--shape is 'banana'"),
        ("targets good.mrc two.csv --radius banana -o masks", "banana"),
        ("targets good.mrc two.csv --shape pasted --radius 30 --map 3cf3=absent.mrc -o masks", "absent.mrc: no such"),
        ("targets good.mrc two.csv --radius 30 -o good.csv", "good.csv: cannot be written to"),
        ("agreement two.csv good.csv --radius nan -o agreement", "radius is nan"),
        ("agreement two.csv good.csv --radius 30 -o good.csv", "good.csv: cannot be written to"),
        ("agreement two.csv good.csv --radius 30 --near absent.mrc -o agreement", "absent.mrc: no such file"),
        ("agreement two.csv truth --radius 30 -o agreement", "truth: is a folder"),
        ("agreement two.csv good.csv --radius 30 --class banana -o agreement", "'banana'"),
        ("detect good.mrc -o picks --model model.pt --set unknown=1", "unknown"),
        ("detect good.mrc -o picks --model model.pt --set tile=[1", "--set tile=[1"),
        ("detect good.mrc -o picks --model model.pt --threshold 2", "--threshold 2: is that of a"),
        ("detect good.mrc -o picks --model model.pt --threshold nan", "--threshold nan: is that of a probability"),
        ("calibrate model.pt nowhere --threshold 0 -o new.pt", "--threshold 0: is that of a probability"),
        ("detect good.mrc -o picks --model model.pt --voxel-size 0", "--voxel-size 0"),
        ("detect good.mrc -o picks --model model.pt --device teapot", "--device teapot"),
        ("detect good.mrc -o picks --model model.pt --threads 0", "'--threads'"),
        ("detect good.mrc -o good.csv --model model.pt", "--output good.csv: cannot be written to (it is a file)"),
        ("detect good.mrc truth/../good.mrc -o picks --model model.pt", "2 tomograms are called good"),
        ("evaluate good.csv truth --voxel-size -4", "--voxel-size -4"),
        ("evaluate good.csv truth --frame banana", "banana"),
        ("evaluate good.csv truth --benchmark shrec22", "shrec22"),
        ("evaluate good.csv truth --segmentation halves.mrc", "halves.mrc: a mask of ids"),
        ("evaluate good.csv truth --json good.mrc/x.json", "good.mrc: cannot be written"),
        ("evaluate good.csv good.csv --radius nan", "radius is nan"),
        ("evaluate good.csv good.csv --radius 9 --json good.csv", "would be overwritten; give another --json"),
        ("evaluate good.csv absent", "absent"),
        ("evaluate good.csv good.mrc", "good.mrc: .mrc names no particle format; use one of .star"),
        ("evaluate truth good.csv", "truth: is a folder; give the file of picks first, then the truth"),
        ("evaluate good.csv truth --radius 50", "--radius 50.0: goes with a pick file"),
        ("evaluate absent absent.csv --radius 9 --beta 1e200", "--beta is 1e+200; it must be a positive number, at mo"),
        ("calibrate model.pt nowhere --beta 1e200 -o new.pt", "--beta is 1e+200; it must be a positive number, at mo"),
        ("detect good.mrc -o picks --model model.pt --max-memory 1e400", "--max-memory 1e400: not a size"),
        ("detect good.mrc -o picks --model model.pt --max-memory 10", "--max-memory 10: is 10 bytes; use something"),
        ("detect good.mrc -o picks --model model.pt --min-score 70", "--min-score 70: confidences lie from 0 to 1"),
        ("train truth --steps 2 --seed 9223372036854775808 --output m.pt", "'--seed'"),
        ("train truth --steps 2 --set seed=9223372036854775808 --output m.pt", "seed = 9223372036854775808"),
        ("zoo train umc -o zoo --seed 9223372036854775808", "'--seed'"),
        ("evaluate good.csv truth --beta 1", "--beta 1.0: goes with a pick file"),
        ("evaluate good.csv good.csv --radius 9 --benchmark shrec20", "--benchmark shrec20: needs a SHREC model"),
        ("evaluate good.csv good.csv --radius 9 --frame auto", "--frame auto: needs a SHREC model folder"),
        ("evaluate good.csv good.csv --radius 9 --strict", "--strict: needs a SHREC model folder"),
        ("evaluate good.csv good.csv --radius 9 --agreement a --strict", "--strict: has nothing to do"),
        ("evaluate good.csv good.csv --radius 9 --agreement a --beta 2", "--beta 2.0: has nothing to do"),
        ("evaluate good.csv good.csv --radius 9 --agreement a --segmentation halves.mrc", "--segmentation halves.mrc:"),
        ("report good.mrc good.csv --frame banana -o x.html", "--frame is 'banana'"),
        ("report good.mrc good.csv --benchmark shrec22 -o x.html", "--benchmark is 'shrec22'"),
        ("report good.mrc good.csv --frame specimen -o x.html", "--frame specimen: goes with --truth"),
        ("report good.mrc good.csv --frame tomogram -o x.html", "--frame tomogram: goes with --truth"),
        ("structures build a.pdb -o a.npz --threshold 1", "--threshold has nothing to do with a.pdb, a file of atoms"),
        ("structures build a.pdb -o a.npz --voxel-size 2", "--voxel-size has nothing to do with a.pdb"),
        ("structures build good.mrc -o a.npz --all-chains", "--all-chains has nothing to do with good.mrc, a map"),
        ("structures build good.mrc -o a.npz --assembly 1", "--assembly has nothing to do with good.mrc"),
        ("structures build truth -o a.npz --recipe shrec20 --mass-kda 9", "--mass-kda has nothing to do with --recipe"),
        ("structures build truth -o a.npz --recipe shrec20 --name a", "--name has nothing to do with --recipe shrec20"),
        ("structures build a.pdb -o a.npz --append --overwrite", "--append and --overwrite exclude each other"),
        ("zoo train umc -o zoo --minutes 0", "--minutes 0: nothing would be trained"),
        ("zoo train umc -o zoo --stream --specimens 20", "--specimens 20: has nothing to do with --stream"),
        ("report good.mrc good.csv -o good.csv/x.html", "good.csv: cannot be written to"),
        ("simulate shrec20 out --size 5,5,5 --particles 2", "--size 5,5,5: the slab is 5 voxels thick, but 3cf3 may"),
        ("simulate shrec20 out --vary --classes ,", "--classes ',': names no structure; the bank holds 3cf3"),
        ("simulate shrec20 out --seed 4294967296", "'--seed'"),
        ("simulate shrec20 out --size 60,60", "--size 60,60"),
        ("simulate shrec20 out --particles 100000", "--particles 100000"),
        ("simulate shrec20 out --size 40,32,36 --particles 5000", "of 5000"),
        ("simulate shrec20 out --tilt-step 0", "--tilt-step 0"),
        ("simulate shrec20 out --tilt-limit 95", "--tilt-limit 95"),
        ("simulate shrec20 out --tilt-step 121", "--tilt-step 121.0: the tilts from -60 to 60 degrees hold no second"),
        ("simulate shrec20 out --tilt-step 1e-9", "--tilt-step 1e-09: more than 3600 tilts from -60 to 60 degrees"),
        ("simulate shrec20 out --size 20,1,1", "--size 20,1,1: y and x must have at least 4 voxels"),
        ("simulate shrec20 out --vary --snr 0.004", "--snr 0.004: --vary draws it anew"),
        ("simulate shrec20 out --vary --tilt-step 3", "--tilt-step 3: --vary draws it anew"),
        ("simulate shrec20 out --snr 0", "--snr 0"),
        ("simulate shrec20 out --defocus nan", "--defocus nan"),
        ("simulate shrec20 out --thickness 3", "--thickness 3"),
        ("simulate shrec20 out --size 9,9,9 --particles 2 --voxel-size 1e9", "smaller"),
        ("simulate shrec20 out --orientations upright", "--orientations upright"),
        ("simulate shrec20 out --device teapot", "--device teapot"),
        ("simulate shrec20 out --classes banana", "'banana'"),
        ("simulate shrec20 out --structures good.csv", "good.csv: not a bank"),
        ("simulate shrec20 good.csv", "good.csv: cannot be written to"),
        ("simulate shrec20 out --models 0", "'--models'"),
        ("simulate shrec19 out", "shrec19"),
        ("structures build good.mrc --mass-kda 1 --threshold nan -o bank.npz", "--threshold nan: give a number"),
        ("targets good.mrc two.csv --shape pasted --radius 30 --threshold nan -o masks", "--threshold nan: give a num"),
        ("structures build good.mrc --mass-kda 1 --voxel-size 1e6 -o bank.npz", "no molecule"),
        ("structures build good.mrc --mass-kda 1e-3 -o bank.npz", "nowhere denser"),
        ("structures build good.csv -o bank.npz", "good.csv: unknown type"),
        ("structures list truth", "truth: is a folder"),
        ("train absent --output m.pt", "absent: no such folder"),
        ("train truth --stage third --output m.pt", "'third'"),
        ("train truth --preset slow --output m.pt", "'slow'"),
        ("train truth --minutes 0 --output m.pt", "minutes = 0"),
        ("train truth --minutes inf --output m.pt", "minutes = inf"),
        ("train truth --steps 2 --minutes 3 --output m.pt", "give one budget"),
        ("train truth --steps 2 --set unknown=1 --output m.pt", "'unknown'"),
        ("train truth --steps 2 --set network_settings=5 --output m.pt", "network_settings is 5"),
        ("train truth --steps 2 --set network_settings.banana=1 --output m.pt", "banana"),
        ("train truth --steps 2 --set options.spread=nan --output m.pt", "options.spread is 'nan'; give a number"),
        ("train truth --steps 2 --set options.spread=.nan --output m.pt", "options.spread is nan; give a number"),
        ("train truth --steps 2 --set options.reach=0 --output m.pt", "options.reach is 0; it is a width"),
        ("train truth --steps 2 --set options.class_weight=true --output m.pt", "options.class_weight is True"),
        ("train truth --method umc --steps 2 --set options.flips=1 --output m.pt", "options.flips is 1; give true or"),
        ("train --stream --steps 2 --set stream.size=[8,1,9] --output m.pt", "stream.size = [8, 1, 9]: y and x must"),
        ("train --stream --steps 2 --set stream.size=[0,9,9] --output m.pt", "stream.size = [0, 9, 9]: z must have"),
        ("train truth --steps 2 --seed -1 --output m.pt", "'--seed'"),
        ("train truth --steps 2 --device teapot --output m.pt", "--device teapot"),
        ("train truth --steps 2 --validation truth --output m.pt", "also training data"),
        ("train truth --steps 2 --output truth", "truth: is a folder"),
        ("train truth --steps 2 --output good.csv/m.pt", "good.csv: cannot be written to"),
        ("train truth --steps 2 --output m.pt --resume", "no checkpoint"),
        ("train truth --steps 2 --from good.csv --output m.pt", "good.csv: not a voxpick model file, but a list of pa"),
        ("train truth --steps 2 --output good.mrc", "good.mrc: not a voxpick model file, but a volume by its name"),
        ("train truth --steps 2 --config good.mrc --output m.pt", "good.mrc: not a readable YAML"),
        ("banana", "No such command 'banana'"),
    ],
)  # fmt: skip
def test_options(monkeypatch, capsys, place, words, expected):
    refused(monkeypatch, capsys, place, words.split(), expected)


def test_voxels_finer_than_the_structures_are_told_before_memory_ends(monkeypatch, capsys, place):
    words = ["simulate", "shrec20", "out", "--size", "400000,9,9", "--particles", "2", "--voxel-size", "1e-3"]
    code, lines, written = run(monkeypatch, capsys, place, *words)
    assert (code, len(lines), written) == (2, 2, set())
    assert "particles are grainy" in lines[0] and "not enough memory" in lines[1]


def test_checkpoints_that_are_none_or_of_another_run(monkeypatch, capsys, place, tmp_path):
    words = ["train", "truth", "--method", "vp-detector", *TINY, "--output", tmp_path / "m.pt"]
    words += ["--run-dir", tmp_path / "run", "--steps"]
    assert run(monkeypatch, capsys, place, *words, 2)[0] == 0
    refused(monkeypatch, capsys, place, [*words, 3, "--resume"], "steps was 2, now 3")
    path = tmp_path / "run" / "checkpoint.pt"
    whole = path.read_bytes()
    state = torch.load(path, weights_only=True)
    for damage in ("optimiser", "fingerprint", "progress"):
        torch.save({key: value for key, value in state.items() if key != damage}, path)
        refused(monkeypatch, capsys, place, [*words, 2, "--resume"], "checkpoint", "another --run-dir")
    path.write_bytes(whole[: len(whole) // 2])
    refused(monkeypatch, capsys, place, [*words, 2, "--resume"], "checkpoint.pt", "another --run-dir")
    path.write_bytes(whole)
    (tmp_path / "run" / "log.csv").write_text("step,loss\nmany,little\n")
    refused(monkeypatch, capsys, place, [*words, 2, "--resume"], "log.csv")
