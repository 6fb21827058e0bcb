"""CollabDM: every site distils its data and sends class means along, once; the server refines the union by them.

Holland, Thapa, Ali Siddiqui, Shao and Camtepe, "One-Shot Collaborative Data Distillation" (2024), arXiv:2408.02266,
Algorithm 1. The server draws T network seeds and, for each, the sites that take part. Every site distils its own
data and computes, under each of its seeded networks, the mean embedding of every class; it uploads both at once.
The server starts from the union of the distilled images and takes one step per network toward the mean over sites.

Where the paper leaves room: means are weighted by the sites' class counts, which travel with the upload
(`weighting: uniform` is the published code's plain mean); one step follows the sum over classes; a site without
a class simply says so.

Beyond the paper, and still one round, each a setting that is off: means over all local data, of 8 or 4 bits; images of
8 bits; every (network, mean) pair used in several epochs at the server, with the means of several augmentations to
choose from; a learning rate that falls; one master seed in place of T seeds. The preset `lean` is all that pays.

With `initial: noise` the server starts from seeded noise: the sites distil nothing, and class means are all they send.
With `privacy`, beside it, they send noisy sums of clipped embeddings in their place, of all classes: one differentially
private release (`collab.class_sums`). A class is refined if the noisy counts say that somebody holds it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from collab.class_means import class_means
from collab.class_sums import (
    check_private,
    expected_sums,
    most_noise,
    private_sums,
    release_of,
    sums_bytes,
    sums_section,
)  # fmt: skip
from collab.data import ImageSpec
from collab.document import PlacedError
from collab.embedding_sums import EmbeddingSums, largest_count
from collab.methods import (
    Ask,
    Expected,
    Fleet,
    Outcome,
    Sections,
    Site,
    Task,
    expected_numbers,
    expected_synthetic,
    localdm,
    read_synthetic,
)
from collab.nets import NetworkSpec, operations_per_image
from collab.network_seeds import by_master, network_seeds, networks_of, participants, seeds_sent
from collab.privacy.gaussian_mechanism import PrivacySettings
from collab.privacy.secure_sums import Participant
from collab.privacy.site_secret import secret_for
from collab.privacy.sum_rounds import KINDS_DOWN, KINDS_UP, SumRounds, SumShape, answer, answer_bytes, question_of
from collab.quantisation import EmbeddingDtype, size_bytes
from collab.refinement import noise_set, refine
from collab.robust_sums import GroupedSums, RobustSettings, sums_for
from collab.wire import Section

UPLOADS = frozenset({"embeddings", "synthetic"})
TASKS = frozenset({"seeds"})


class Settings(localdm.Settings):
    """Settings of CollabDM; the defaults are the paper's (Table 2)."""

    iterations: int = Field(200, ge=0, description="T: random networks under which the sites embed their data")
    surplus_networks: int = Field(
        0, ge=0, le=1000, description="networks whose means are sent and never used; the published code has one"
    )
    participation: float = Field(1.0, gt=0, le=1, description="epsilon: share of the sites that serve each network")
    batch_size: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        512, description="B: real images of each class behind a mean, or all that the site holds"
    )
    augmentations: int = Field(
        1, ge=1, le=100, description="A: means per network, each under an augmentation of its own; A times the bytes"
    )
    learning_rate: float = Field(10.0, gt=0, description="of the refinement")
    learning_rate_schedule: Literal["constant", "cosine"] = Field(
        "constant", description="of the refinement; cosine falls to 0 over all of its steps"
    )
    momentum: float = Field(0.5, ge=0, lt=1, description="of the refinement")
    initial: Literal["random", "union", "noise"] = Field(  # type: ignore[assignment]  # the sites themselves start from data
        "random",
        description="what the server starts from: random and union are what the sites distilled, as in localdm; noise "
        "is drawn by the server, and the sites send class means only",
    )
    synthetic_batch_size: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        "all",
        description="synthetic images of each class that a step of the refinement matches, drawn anew each time; "
        "the paper draws some and does not say how many, the published code takes all",
    )
    server_epochs: int = Field(1, ge=1, le=10_000, description="E: steps of refinement for each network")
    weighting: Literal["counts", "uniform"] = Field(
        "counts", description="weigh a site's class mean by its number of samples, or all sites alike"
    )
    embedding_dtype: EmbeddingDtype = Field(
        "float16", description="of the uploaded means; int8 and int4 have a range for each vector"
    )
    seeds: Literal["list", "master"] = Field(
        "list", description="send each site the seeds of its networks, or one from which it derives them"
    )
    privacy: PrivacySettings | None = Field(
        None, description="differential privacy of each site's samples, at the site; null for none"
    )
    robust: RobustSettings | None = Field(None, description="against sites that lie; null for the mean over all")
    aggregation: Literal["plain", "secure"] = Field(
        "plain",
        description="what the server sees of the means: each site's, or by secure aggregation their sum over sites "
        "alone, in four exchanges; then initial must be noise",
    )
    threshold: Annotated[int, Field(ge=2)] | None = Field(
        None,
        description="t: of secure aggregation, the sites that must stay to its end; more than two thirds if not given",
    )

    @property
    def networks_served(self) -> int:
        """The networks under which the sites embed their data."""
        return self.iterations + self.surplus_networks

    def smallest_upload_bytes(self, share: int, side: int) -> int:
        """The images of one class, of one channel; of means alone no bound is known that holds for every network."""
        return 0 if self.initial == "noise" else super().smallest_upload_bytes(share, side)

    @model_validator(mode="after")
    def _uses_what_is_sent(self) -> Self:
        if self.privacy is not None:
            check_private(self)
        if self.robust is not None and (self.privacy is not None or self.aggregation == "secure"):
            raise PlacedError("a mean of each site is needed, but privacy or secure hides it; take one out", "robust")
        if self.initial == "noise" and self.iterations == 0:
            raise ValueError(
                "initial is noise and iterations 0: nothing would ever turn the noise into images; set iterations to "
                "the number of networks, or initial: random"
            )
        if self.aggregation == "secure" and (self.initial != "noise" or self.participation < 1):
            raise ValueError(
                f"aggregation is secure, initial {self.initial} and participation {self.participation:g}: images of "
                "each site, or sums over few of them, would tell what the sum over all hides; set initial: noise and "
                "participation: 1"
            )
        if self.augmentations > 1 and not self.augment:
            raise ValueError(
                f"augmentations is {self.augmentations}, but augment is off; set augment, or augmentations: 1"
            )
        if self.augmentations > self.server_epochs:
            raise ValueError(
                f"augmentations is {self.augmentations} and server_epochs {self.server_epochs}: each epoch uses one of "
                f"the means per network, so some would be sent for nothing; set server_epochs: {self.augmentations}"
            )
        return self


PRESETS: Mapping[str, Mapping[str, Any]] = {
    # The paper's accuracy at less than a twentieth of its bytes: few networks, sent coarsely and used often.
    "lean": {
        "iterations": 38,
        "surplus_networks": 0,
        "batch_size": "all",
        "augmentations": 1,
        "learning_rate_schedule": "constant",
        "server_epochs": 20,
        "weighting": "counts",
        "embedding_dtype": "int4",
        "image_dtype": "uint8",
        "seeds": "master",
    },
    # Where the published code departs from the paper (fact sheet, section 13); on evenly divided data its B is 512.
    "published": {
        **localdm.PRESETS["published"],
        "iterations": 400,
        "surplus_networks": 1,
        "participation": 1.0,
        "batch_size": 100,
        "augmentations": 1,
        "learning_rate": 10.0,
        "learning_rate_schedule": "constant",
        "momentum": 0.5,
        "server_epochs": 1,
        "weighting": "uniform",
        "embedding_dtype": "float32",
        "seeds": "list",
    },
}


def kinds(settings: Settings) -> tuple[frozenset[str], frozenset[str]]:
    """The kinds of content that the sites send, no images if the server starts from noise, and the server's."""
    if settings.aggregation == "secure":
        return KINDS_UP, KINDS_DOWN
    return (UPLOADS - {"synthetic"} if settings.initial == "noise" else UPLOADS), TASKS


# -- at a site -----------------------------------------------------------------------------------


def client(task: Task, site: Site) -> Sections:
    """The site's own distillation, if images are asked for, and its class means under each network of the task."""
    settings: Settings = task.settings
    if settings.aggregation == "secure":
        return _secure_answer(task, site)
    local = {} if settings.initial == "noise" else localdm.client(task, site)
    own = _embeddings(task, site)
    return local if own is None else {**local, "embeddings": own}


def _embeddings(task: Task, site: Site) -> Section | None:
    """Means of the classes that the site holds, or noisy sums of all classes; None if there is nothing to tell."""
    settings: Settings = task.settings
    iterations, seeds = networks_of(task.sections["seeds"], settings.networks_served)
    if settings.privacy is not None:
        release, served = release_of(settings, settings.privacy), list(zip(iterations, seeds, strict=True))
        noisy = private_sums(settings, release, site.data, site.device, served, site.secret)
        return sums_section(*noisy, settings.embedding_dtype)
    if not (seeds and site.data.classes_present):
        return None
    return class_means(settings, site, iterations, seeds, task.seed)


def answered_once(task: Task) -> str | None:
    """What a task asks for that a site must not answer twice in one run: the noise of two answers hides less, and so do
    masks.
    """
    if task.settings.aggregation == "plain":
        return None if task.settings.privacy is None else "noisy sums of its samples"
    question = question_of(task.sections)
    return question and f"{question} in the run {_run_of(task)[:16]}"


def _secure_answer(task: Task, site: Site) -> Sections:
    """A site's part of a secure sum. One without data takes part like any other, so that nobody can tell."""
    settings: Settings = task.settings
    sums = EmbeddingSums(settings, settings.network(site.data.spec))
    participant = Participant(secret_for(site.secret, "secure sums", _run_of(task), site.data.digest))

    def vector(sites: int) -> NDArray[np.int64]:
        if (own := _embeddings(task, site)) is not None:
            sums.add(own, range(settings.networks_served))
        return sums.vector(sites)

    return answer(participant, task.sections, settings.threshold, SumShape(*sums.shape), vector)


def _run_of(task: Task) -> str:
    """A digest of what was agreed on before the first task of a run."""
    settings = task.settings.model_dump(mode="json", exclude={"name"})
    return hashlib.sha256(json.dumps([task.seed, task.share, settings], sort_keys=True).encode()).hexdigest()


# -- at the server -------------------------------------------------------------------------------


async def server(fleet: Fleet) -> Outcome:
    """Ask every site once, then refine the union of their images, or noise."""
    settings: Settings = fleet.settings
    spec = settings.network(fleet.images)
    seeds = network_seeds(fleet.seed, settings.networks_served)
    pool = localdm.InitialPool(fleet.images, settings, fleet.seed)
    sums: EmbeddingSums | GroupedSums
    if settings.aggregation == "secure":
        sums, sites = await _sum_securely(fleet, spec, seeds)
    else:
        sums, sites = await _collect(fleet, spec, pool, seeds)
    release = None if settings.privacy is None else release_of(settings, settings.privacy)
    held = sums.classes(1 if release is None else release.least_count(sites))
    noise = partial(noise_set, fleet.images, held, settings.images_per_class, settings.expand, fleet.seed)
    initial, used = noise() if settings.initial == "noise" else pool.synthetic(), seeds[: settings.iterations]
    refined = await fleet.compute("refine", refine, initial, sums, used, settings, fleet.images, fleet.device)
    return Outcome(refined.synthetic, initial, matching_losses=refined.losses, privacy=release)


async def _collect(
    fleet: Fleet, spec: NetworkSpec, pool: localdm.InitialPool, seeds: Sequence[int]
) -> tuple[EmbeddingSums | GroupedSums, int]:
    """Ask every site once for what it has, images into the pool; returns sums, and how many sites have answered."""
    settings: Settings = fleet.settings
    sums = sums_for(settings, spec, fleet.sites, fleet.seed)
    takers = participants(settings, fleet.sites, fleet.seed)
    asked = [site for site in fleet.sites if takers[site] or settings.initial != "noise"]
    asks = {site: ask_for(fleet, spec, seeds, takers[site]) for site in asked}
    if settings.seeds == "master":
        asks = {
            site: replace(ask, sections=by_master(ask.sections, settings, fleet.seed)) for site, ask in asks.items()
        }
    answered = 0
    async for upload in fleet.ask(asks):
        answered += 1
        if "synthetic" in upload.sections:
            pool.add(upload.site, *read_synthetic(upload.sections["synthetic"]))
        if "embeddings" in upload.sections:
            sums.of(upload.site).add(upload.sections["embeddings"], takers[upload.site])
    return sums, answered


async def _sum_securely(fleet: Fleet, spec: NetworkSpec, seeds: Sequence[int]) -> tuple[EmbeddingSums, int]:
    """The sums over the sites, of which no single summand is seen, and of how many sites they are at most."""
    settings: Settings = fleet.settings
    sums = EmbeddingSums(settings, spec)
    sent: Sections = {"seeds": seeds_sent(seeds, range(settings.networks_served))}
    sent = by_master(sent, settings, fleet.seed) if settings.seeds == "master" else sent
    rounds = SumRounds(fleet.sites, settings.threshold, SumShape(*sums.shape), sent["seeds"])
    for exchange in rounds.exchanges():
        asks = {id(question): Ask(*question) for question in exchange.questions.values()}
        async for upload in fleet.ask({site: asks[id(question)] for site, question in exchange.questions.items()}):
            exchange.take(upload.site, upload.sections)
    total, sites = await fleet.compute("unmask", rounds.total), len(fleet.sites)
    release = None if settings.privacy is None else release_of(settings, settings.privacy)
    sums.add_vector(total, (0.0, 0.0) if release is None else most_noise(release, sites))
    return sums, sites


def ask_for(fleet: Fleet, spec: NetworkSpec, seeds: Sequence[int], iterations: Sequence[int]) -> Ask:
    """What a site is asked for that serves these iterations: its images, if the server starts from them, and, if there
    are any iterations, its class means.
    """
    settings: Settings = fleet.settings
    images = fleet.images
    sent = seeds_sent(seeds, iterations)
    synthetic = dict(expected_synthetic(images, fleet.share, settings.image_dtype))
    if not iterations:  # then images are wanted, or the site would not be asked
        return Ask({"seeds": sent}, {"synthetic": synthetic})
    rows, most = len(iterations) * settings.augmentations, largest_count(len(fleet.sites))
    if settings.privacy is not None:
        noisy = expected_sums(release_of(settings, settings.privacy), rows, spec, settings.embedding_dtype, most)
        return Ask({"seeds": sent}, {"embeddings": noisy})
    expected = {
        "classes": Expected("uint8", ("classes",), 0, images.classes - 1, unique=True),
        "counts": Expected("int64", ("classes",), 1, most),
        **expected_numbers("means", settings.embedding_dtype, (rows, "classes", spec.embedding_size)),
    }
    if settings.initial == "noise":
        return Ask({"seeds": sent}, {"embeddings": expected})
    synthetic["labels"] = replace(synthetic["labels"], among=("embeddings", "classes"))
    return Ask({"seeds": sent}, {"embeddings": expected, "synthetic": synthetic})


def upload_bytes(
    settings: Settings,
    images: ImageSpec,
    *,
    iterations: int,
    classes: int,
    share: int,
    pictured: int | None = None,
    sites: int = 1,
) -> int:
    """Closed formula: bytes of the tensors in one upload, without the envelope (fact sheet, section 12).

    U = b_e D C A T_k + b_i n_k C px, with 8 B more for the range of each quantised vector or image, and beside it 9 B
    per class for its number and count, 1 B per image for its label. `pictured` is the number of classes of which images
    go along, if not all: those of which the site holds more samples than its share. With `initial: noise` none do.
    With `privacy` see `sums_bytes`. With secure aggregation it is 8 (D C A T + C) + 64 + 115 K in all exchanges of K
    sites, see `answer_bytes`.
    """
    if settings.aggregation == "secure":
        rows, spec = settings.iterations * settings.augmentations, settings.network(images)
        return answer_bytes(SumShape(rows, images.classes, spec.embedding_size), sites)
    if settings.privacy is not None:
        return sums_bytes(settings.embedding_dtype, iterations * settings.augmentations, settings.network(images))
    pictures = 0 if settings.initial == "noise" else share * (classes if pictured is None else pictured)
    vectors = classes * iterations * settings.augmentations
    means = size_bytes(settings.embedding_dtype, vectors * settings.network(images).embedding_size, vectors)
    return means + size_bytes(settings.image_dtype, pictures * images.pixels, pictures) + 9 * classes + pictures


def client_operations(
    settings: Settings, images: ImageSpec, counts: Sequence[int], share: int, *, iterations: int | None = None
) -> int:
    """Closed formula: floating-point operations of `client` at a site with `counts` samples of each class.

    LocalDM's, unless the server starts from noise, and A T_k sum_y min(n_y, B) F for the class means under T_k networks
    (`iterations`; all of them if not given), where F is what one image takes forward.
    """
    networks = settings.augmentations * (settings.networks_served if iterations is None else iterations)
    embedded = sum(count if settings.batch_size == "all" else min(count, settings.batch_size) for count in counts)
    forward = operations_per_image(settings.network(images)).forward
    local = 0 if settings.initial == "noise" else localdm.client_operations(settings, images, counts, share)
    return local + networks * embedded * forward


def server_operations(settings: Settings, images: ImageSpec) -> int:
    """Closed formula: operations of `refine` where all images of every class are matched, T E n expand^2 (F + G)."""
    cost = operations_per_image(settings.network(images))
    matched = settings.images_per_class * images.classes * settings.expand**2
    return settings.iterations * settings.server_epochs * matched * (cost.forward + cost.backward_to_image)
