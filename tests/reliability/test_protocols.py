"""A file can't make FFmpeg open another one: no playlist is followed, no protocol is asked."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fastvd.errors import MediaError
from fastvd.media.video import probe, read_clip

HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.6,\n{}\n#EXT-X-ENDLIST\n"
PLAYLISTS = {
    "hls": HLS,
    "hls master": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\n{}\n",
    "concat": "ffconcat version 1.0\nfile {}\n",
    "dash": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet '
        'mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>"
    ),
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\na=control:{}\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


@pytest.fixture
def decoy(
    tmp_path: Path, encode: Callable[..., Path], counting_frames: Callable[..., object]
) -> Path:
    """A sound video that no one may read unasked."""
    return encode(tmp_path / "decoy.ts", counting_frames(40))


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("scheme", ["", "file:", "concat:", "subfile,,start,0,end,0,,:"])
def test_playlist_is_not_followed(
    reader: str, tmp_path: Path, decoy: Path, name: str, scheme: str
) -> None:
    for target in (f"{scheme}{decoy}", f"{scheme}{decoy.name}"):
        for suffix in ("m3u8", "mp4"):
            path = tmp_path / f"list.{suffix}"
            path.write_text(PLAYLISTS[name].format(target))
            with pytest.raises(MediaError, match=r"list\."):
                read_clip(path)


@pytest.mark.parametrize("name", PLAYLISTS)
def test_playlist_makes_no_connection(reader: str, tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        port = server.getsockname()[1]
        path = tmp_path / "list.m3u8"
        for scheme in ("http", "tcp", "rtmp"):
            path.write_text(PLAYLISTS[name].format(f"{scheme}://127.0.0.1:{port}/clip.ts"))
            with pytest.raises(MediaError, match=r"list\."):
                probe(path)
        with pytest.raises(TimeoutError):
            server.accept()


def test_file_that_names_a_port_is_refused_at_once(reader: str, tmp_path: Path) -> None:
    path = tmp_path / "session.sdp"
    path.write_text(PLAYLISTS["sdp"].format("*"))
    started = time.monotonic()
    with pytest.raises(MediaError, match=r"session\.sdp"):
        probe(path)
    # FFmpeg waits ten seconds for packets
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("scheme", ["concat:", "file:", "subfile,,start,0,end,0,,:", "crypto:"])
def test_name_is_a_name_not_a_protocol(
    reader: str, decoy: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.chdir(decoy.parent)
    with pytest.raises(FileNotFoundError):
        read_clip(f"{scheme}{decoy.name}")
    # what is named so is read as it is
    named = decoy.rename(decoy.parent / f"{scheme}decoy.ts")
    assert probe(named.name).frames == 40
