"""The operations that a server offers, and all of their answers: `docs/protocol.md` for programs.

The handlers are in `collab.agents.server` and, for newcomers, in `collab.reception`; a test holds that they answer
nothing that does not stand here. Nothing here needs torch.
"""

from __future__ import annotations

from simnet.operations import Answer, Operation
from simnet.part_operations import operations_of_parts

PREFIX = "/v1"
TASK_PATH = PREFIX + "/sites/{site}/task"
UPLOAD_PATH = PREFIX + "/tasks/{task}/uploads/{site}"
EXPERIMENT_PATH = PREFIX + "/experiment"
SITES_PATH = PREFIX + "/sites"
CLAIM_PATH = PREFIX + "/sites/{site}"
DESCRIPTION_PATH = PREFIX + "/openapi.json"
ALREADY_ACCEPTED = "already-accepted"
LATE = "late"
CLAIM_KEY_HEADER = "Idempotency-Key"
CLAIM_KEY_PATTERN = r"[A-Za-z0-9_-]{1,128}"

_SITE = {"site": "Name of the site, for example client-3. It must be the sender's."}
_NO_SITE = Answer(404, "no such site", "unknown-site")
_NOT_YOU = Answer(403, "the sender is not the site in the path", "not-you")
_CLAIMED = Answer(201, "fields: {site: its name}", kinds=("control",))

GIVE_TASK = Operation(
    "giveTask",
    "GET",
    TASK_PATH,
    "What the site is to do now.",
    (
        Answer(200, "fields: state = task, done or failed; a task with its seeds", kinds=("control", "seeds", "model")),
        Answer(204, "nothing for the site now", headers={"Retry-After": "seconds to wait before asking again"}),
        _NO_SITE,
        _NOT_YOU,
    ),
    parameters=_SITE,
    headers={"Prefer": "wait=SECONDS: hold the request up to so long, at most 120, until there is something to say"},
)
TAKE_UPLOAD = Operation(
    "takeUpload",
    "PUT",
    UPLOAD_PATH,
    "Hand in what a task asked for. May be repeated: it is accepted once.",
    (
        Answer(201, "accepted, and kept", kinds=("control",)),
        Answer(400, "truncated, altered, or in another way no message of this protocol", "unreadable"),
        _NO_SITE,
        _NOT_YOU,
        Answer(404, "no such task, or not the site's", "unknown-task"),
        Answer(409, "the site's upload for this task is in: take it as success", ALREADY_ACCEPTED),
        Answer(410, "the task is closed; the upload was not used", LATE),
        Answer(422, "well formed, but not what the task expects", "not-as-asked"),
        Answer(503, "after a crash the server has not come to this task again yet: repeat", "catching-up"),
        Answer(507, "there is no room to keep the body: repeat later", "no-room"),
    ),
    parameters={"task": "Identity of the task.", **_SITE},
    sends="fields: {task, site}; the sections that the task expects, or none",
    sends_kinds=("embeddings", "synthetic", "model", "gradients", "control"),
)
DESCRIBE_EXPERIMENT = Operation(
    "describeExperiment",
    "GET",
    EXPERIMENT_PATH,
    "The scenario that the server runs, for newcomers.",
    (Answer(200, "fields: {scenario: YAML}", kinds=("control",)),),
    open_to_all=True,
)
CLAIM_ANY = Operation(
    "claimAnySite",
    "POST",
    SITES_PATH,
    "Become the next site that is free.",
    (
        _CLAIMED,
        Answer(400, "the key is none", "bad-key"),
        Answer(403, "the sender is no site of this run", "not-you"),
        Answer(409, "all sites are taken", "full"),
    ),
    headers={
        CLAIM_KEY_HEADER: "Drawn by the newcomer, 1 to 128 letters, digits, - and _, quoted or not: whoever asks again "
        "with it becomes the same site"
    },
    open_to_all=True,
)
CLAIM = Operation(
    "claimSite",
    "POST",
    CLAIM_PATH,
    "Become this very site, also after a crash.",
    (_CLAIMED, _NO_SITE, _NOT_YOU),
    parameters=_SITE,
    open_to_all=True,
)
GIVE_UP = Operation(
    "giveUp",
    "DELETE",
    CLAIM_PATH,
    "Say that the site will not be back, and why.",
    (
        Answer(200, "fields: {site}; the run fails if its upload is still wanted", kinds=("control",)),
        Answer(400, "the body does not say why", "unreadable"),
        _NO_SITE,
        _NOT_YOU,
    ),
    parameters=_SITE,
    sends="fields: {reason: words}",
    sends_kinds=("control",),
)
DESCRIBE_API = Operation(
    "describeApi",
    "GET",
    DESCRIPTION_PATH,
    "This description.",
    (Answer(200, "OpenAPI 3.1", kinds=("control",), content_type="application/json"),),
    open_to_all=True,
)
OPERATIONS = (GIVE_TASK, TAKE_UPLOAD, DESCRIBE_EXPERIMENT, CLAIM_ANY, CLAIM, GIVE_UP, DESCRIBE_API)
DESCRIBED = (*OPERATIONS, *operations_of_parts(TAKE_UPLOAD))
"""All of them, and what the carriage offers beside: an upload may also come in parts."""
