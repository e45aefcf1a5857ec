"""What is said when weights cannot be brought, in both languages. `keep` tells that a partial file waits."""

from __future__ import annotations

from pathlib import Path

from worker.errors import WeightsError

BY_HAND = "--from FILE"


def megabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _kept(done: int) -> tuple[str, str]:
    if done <= 0:
        return "", ""
    return (
        f" {megabytes(done)} are kept, and the same command goes on from there.",
        f"已下载的 {megabytes(done)} 会保留，再次运行同一命令即可续传。",
    )


def unreachable(host: str, why: str, done: int = 0) -> WeightsError:
    en, zh = _kept(done)
    return WeightsError(
        "weights.unreachable",
        f"{host} cannot be reached ({why}). Check the network and the proxy (HTTPS_PROXY), name a mirror "
        f"(--mirror URL, or HF_ENDPOINT for the hub), or bring the file by hand ({BY_HAND}).{en}",
        f"无法连接 {host}（{why}）。请检查网络与代理（HTTPS_PROXY），指定镜像（--mirror URL，模型库可用 HF_ENDPOINT），"
        f"或手动提供文件（{BY_HAND}）。{zh}",
    )


def broke_off(name: str, tries: int, why: str, done: int) -> WeightsError:
    en, zh = _kept(done)
    return WeightsError(
        "weights.broke_off",
        f"The download of {name} broke off {tries} times in a row ({why}).{en} "
        "A mirror (--mirror URL) may be steadier.",
        f"{name} 的下载连续中断 {tries} 次（{why}）。{zh}也可换用镜像（--mirror URL）。",
    )


def refused(name: str, host: str, status: int) -> WeightsError:
    return WeightsError(
        "weights.refused",
        f"{host} refuses to give {name} (HTTP {status}). Where its page asks for terms, accept them there and give a "
        f"token (HF_TOKEN); else a firewall may stand between: name a mirror (--mirror URL) or bring the file by hand "
        f"({BY_HAND}).",
        f"{host} 拒绝提供 {name}（HTTP {status}）。若其页面要求接受条款，请先接受并提供令牌（HF_TOKEN）；"
        f"也可能是防火墙所致：请指定镜像（--mirror URL）或手动提供文件（{BY_HAND}）。",
    )


def gated(page: str) -> WeightsError:
    return WeightsError(
        "weights.gated",
        f"These weights are given only to those who accepted the publisher's terms. Open {page}, accept them there, "
        "make a token in your account's settings, set it as HF_TOKEN, then run the same command again.",
        f"发布者要求先接受其条款。请打开 {page} 接受条款，在账户设置中创建令牌并设为 HF_TOKEN，然后再次运行同一命令。",
    )


def not_found(name: str, url: str, status: int) -> WeightsError:
    return WeightsError(
        "weights.not_found",
        f"{name} is not at {url} (HTTP {status}): the publisher moved it, or the mirror does not have it. "
        f"Leave the mirror out, or bring the file by hand ({BY_HAND}).",
        f"{url} 没有 {name}（HTTP {status}）：发布者已移动文件，或镜像中没有。"
        f"请不用镜像，或手动提供文件（{BY_HAND}）。",
    )


def not_the_hub(host: str) -> WeightsError:
    return WeightsError(
        "weights.not_weights",
        f"Something else than the hub answers at {host}: a sign-in page of the network, or a wrong mirror. Sign in to "
        f"the network, name a mirror (--mirror URL), or bring the file by hand ({BY_HAND}).",
        f"{host} 的应答并非来自模型库：可能是网络登录页或错误的镜像。"
        f"请先登录网络，指定镜像（--mirror URL），或手动提供文件（{BY_HAND}）。",
    )


def web_page(name: str, host: str) -> WeightsError:
    return WeightsError(
        "weights.not_weights",
        f"{host} sent a web page in the place of {name}: a sign-in page of the network, or a wrong mirror. Nothing was "
        f"kept of it. Sign in to the network, name a mirror (--mirror URL), or bring the file by hand ({BY_HAND}).",
        f"{host} 返回的是网页而不是 {name}：可能是网络登录页或错误的镜像，内容未保存。"
        f"请先登录网络，指定镜像（--mirror URL），或手动提供文件（{BY_HAND}）。",
    )


def wrong_size(name: str, found: int, wanted: int) -> WeightsError:
    return WeightsError(
        "weights.wrong_size",
        f"{name} has {found} bytes there, and the file this engine needs has {wanted}. It is another file or another "
        "version of it; nothing was put in place.",
        f"{name} 的大小为 {found} 字节，而此引擎需要 {wanted} 字节：不是同一文件或版本不同，未安装。",
    )


def wrong_hash(name: str, found: str, wanted: str, receipt: Path | None) -> WeightsError:
    """`receipt`: where the first download's hash stands, if the wanted one is from there."""
    whose, zh = ("the published one", "公布的值")
    more = more_zh = ""
    if receipt is not None:
        whose, zh = ("that of its first download here", "本机首次下载时的值")
        more = f" If the publisher is known to have changed it, delete {receipt} and install again."
        more_zh = f"若确知发布者更新了文件，请删除 {receipt} 后重新安装。"
    return WeightsError(
        "weights.wrong_hash",
        f"{name} is not the file it should be: its sha256 {found[:12]}… is not {whose}, {wanted[:12]}…. It was changed "
        f"on the way or by somebody; it is not used.{more}",
        f"{name} 不是应有的文件：其 sha256 {found[:12]}… 与{zh} {wanted[:12]}… 不符，"
        f"可能在途中或被人改动，不予使用。{more_zh}",
    )


def no_space(folder: Path, need: int, free: int) -> WeightsError:
    return WeightsError(
        "weights.no_space",
        f"{megabytes(need)} are needed in {folder}, and {megabytes(free)} are free. Make room, or put the weights "
        "on another disk with ASSETIZE_WEIGHTS_DIR.",
        f"{folder} 需要 {megabytes(need)}，仅剩 {megabytes(free)}。"
        "请清理空间，或用 ASSETIZE_WEIGHTS_DIR 指定其他磁盘。",
    )


def disk_full(folder: Path, done: int) -> WeightsError:
    en, zh = _kept(done)
    return WeightsError(
        "weights.disk_full",
        f"The disk of {folder} became full in the middle of the download. Make room, then run the same command.{en}",
        f"下载途中 {folder} 所在磁盘已满。请清理空间后再次运行同一命令。{zh}",
    )


def unwritable(folder: Path, why: str) -> WeightsError:
    return WeightsError(
        "weights.unwritable",
        f"{folder} cannot be written ({why}). Give yourself the right to, or name another place with "
        "ASSETIZE_WEIGHTS_DIR.",
        f"无法写入 {folder}（{why}）。请取得权限，或用 ASSETIZE_WEIGHTS_DIR 指定其他位置。",
    )


def offline(lines: list[tuple[str, str, Path]]) -> WeightsError:
    """`lines`: name, address and place of every file that is missing."""
    en = "; ".join(f"{name} from {source} to {path}" for name, source, path in lines)
    return WeightsError(
        "weights.offline",
        f"Without network nothing can be downloaded. Bring these by hand and name their folder ({BY_HAND}), or put "
        f"them in place: {en}.",
        f"离线时无法下载。请手动取得以下文件并指定所在文件夹（{BY_HAND}），或直接放到位：{en}。",
    )


def unreadable(path: Path, why: str) -> WeightsError:
    return WeightsError(
        "weights.unreadable",
        f"{path} cannot be read ({why}). Nothing was put in place.",
        f"无法读取 {path}（{why}），未安装。",
    )


def not_in(place: Path, names: list[str]) -> WeightsError:
    return WeightsError(
        "weights.not_there",
        f"{place} does not have {', '.join(names)}. Give the folder that the files are in, under these names.",
        f"{place} 中没有 {'、'.join(names)}。请指定以这些名称存放文件的文件夹。",
    )


def busy(engine: str) -> WeightsError:
    return WeightsError(
        "weights.busy",
        f"“{engine}” is being installed by another Assetize at this moment. Wait until it is done.",
        f"另一个 Assetize 正在安装“{engine}”，请等待其完成。",
    )


def in_use(path: Path, verb: str, zh: str) -> WeightsError:
    """Windows neither deletes nor replaces a file that a process has open. `verb`, `zh`: what to do again then."""
    return WeightsError(
        "weights.in_use",
        f"{path.name} is in use, and Windows lets nobody change it meanwhile: a running worker has it open, or a virus "
        "scanner does. Close Blender, or stop the worker (Stop Worker in its panel, Ctrl+C in its terminal), then "
        f"{verb} again. If no worker runs, give yourself the right to write in {path.parent}.",
        f"{path.name} 正在使用中，Windows 不允许更改：工作进程（或杀毒软件）正打开它。请关闭 Blender，"
        f"或停止工作进程（面板中的“停止工作进程”，或在其终端按 Ctrl+C），然后再次{zh}。"
        f"若没有工作进程在运行，请取得 {path.parent} 的写入权限。",
    )
