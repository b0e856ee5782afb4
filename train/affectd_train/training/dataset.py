"""What a recipe trains on, loaded: the bands of recordings and of their copies, of noise and of everyday speech."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from affectd.arrays import Float32
from affectd_train.augmentation.waveform import Augmenter
from affectd_train.data.clips import Clip
from affectd_train.data.everyday_speech import recordings_for_training
from affectd_train.data.labels import CORPORA, in_order, labels_of
from affectd_train.data.logmel import check_logmel
from affectd_train.data.noise import responses_folder, room_responses
from affectd_train.files import say
from affectd_train.folders import find_folders
from affectd_train.training.bands import BandStore, load_bands, load_everyday, load_noise
from affectd_train.training.recipe import Recipe
from affectd_train.training.variants import Version, versions


@dataclass(frozen=True)
class Dataset:
    """What `load_dataset` loaded."""

    stores: dict[str, BandStore]  # by corpus, without held-out speakers
    held_out: dict[str, BandStore]  # by corpus, of held-out speakers alone, without copies
    labels: list[str]  # those that any of the corpora has, in the order of the network's outputs
    noise: list[Float32]  # each (n_frames, n_bands) dB
    everyday: list[Float32]  # each (n_frames, n_bands) dB
    talk: list[Path]  # the recordings of everyday speech
    augmenter: Augmenter  # of the copies
    versions: list[Version]  # all that was loaded, held-out speakers included

    def join(self, corpora: Iterable[str]) -> BandStore:
        """Put the bands of corpora behind one another."""
        return BandStore.join([self.stores[name] for name in corpora])


def load_dataset(clips: Sequence[Clip], recipe: Recipe, data: Path, cache: Path, held_out: Set[str]) -> Dataset:
    """Load what a recipe trains on; see `affectd_train.training.fit.fit` for the parameters."""
    corpora = [name for name in recipe.corpora if any(clip.corpus == name for clip in clips)]
    for clip in {clip.corpus: clip for clip in clips if clip.is_logmel and clip.corpus in corpora}.values():
        check_logmel(clip, recipe.spec)  # before anything is computed of the others
    talk = recordings_for_training(data, bool(recipe.everyday_by_source))
    noise_folder = find_folders(data, ["noise"]).get("noise")
    for name, found in (("noise", noise_folder), ("speech", talk)):
        if not found:
            say(f"{name}: not in {data}, training without it")
    noise = load_noise(noise_folder, recipe.spec) if noise_folder else []
    rooms = responses_folder(noise_folder) if noise_folder and room_responses(noise_folder) else None
    augmenter = Augmenter(noise_folder if noise else None, rooms)
    everyday = load_everyday(talk, recipe.spec)
    listed = {name: versions(name, clips, recipe, augmenter) for name in corpora}
    stores = {
        name: BandStore.join([load_bands(v.clips, recipe.spec, cache, v.augmenter, v.copy) for v in mine])
        for name, mine in listed.items()
    }
    kept_back = {name: store.originals(held_out) for name, store in stores.items()}
    stores = {name: store.without(held_out) for name, store in stores.items()}
    # Of one's own recordings there is no table of what they may hold: what they do hold is what the network tells.
    ours = [label for name in corpora if name in CORPORA for label in labels_of(name)]
    labels = in_order([*ours, *(clip.emotion for clip in clips if clip.corpus not in CORPORA)])
    all_versions = [v for mine in listed.values() for v in mine]
    return Dataset(stores, kept_back, labels, noise, everyday, talk, augmenter, all_versions)
