import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from augsynth.coco.reader import read_dataset
from augsynth.core.errors import DatasetError
from augsynth.core.images import (
    image_path,
    place_original,
    read_header,
    read_image,
    relative_name,
    write_image,
)
from augsynth.core.scene import Dataset, Scene

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
WIDTH, HEIGHT = 24, 16


def picture():
    """Four flat quarters, so that every turn shows and JPEG changes little."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:8, :12], image[:8, 12:], image[8:, :12], image[8:, 12:] = (
        (200, 30, 40),
        (20, 190, 30),
        (30, 40, 210),
        230,
    )
    return image


def scene(name, size_wh=(WIDTH, HEIGHT)):
    return Scene(5, name, size_wh)


def tag(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# --- reading ---


def test_rgb_is_read_bit_for_bit_from_a_root_or_a_dataset(tmp_path):
    write_image(tmp_path / "sub/a.png", picture())
    assert (read_image(tmp_path, scene("sub/a.png")) == picture()).all()
    dataset = Dataset((), (scene("sub/a.png"),), {}, tmp_path / "x.json", tmp_path)
    image = read_image(dataset, dataset.scenes[0])
    assert image.dtype == np.uint8 and image.flags.writeable and (image == picture()).all()


def test_a_dataset_read_without_images_says_so(tmp_path):
    with pytest.raises(
        DatasetError, match="image 5: the dataset was read without images; name the image directory"
    ):
        read_image(Dataset((), (), {}, tmp_path / "x.json"), scene("a.png"))


def test_grey_palette_and_alpha_become_rgb(tmp_path):
    rgb = Image.fromarray(picture())
    grey = np.array(rgb.convert("L"))
    for mode in ("L", "LA"):
        rgb.convert(mode).save(tmp_path / "grey.png")
        assert (read_image(tmp_path, scene("grey.png")) == grey[..., None]).all()
    rgb.convert("1").save(tmp_path / "bits.png")
    assert set(np.unique(read_image(tmp_path, scene("bits.png")))) <= {0, 255}
    rgb.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    assert (read_image(tmp_path, scene("palette.png")) == picture()).all()
    half = rgb.copy()
    half.putalpha(100)
    half.save(tmp_path / "alpha.png")
    assert (read_image(tmp_path, scene("alpha.png")) == picture()).all()


def test_cmyk_becomes_rgb(tmp_path):
    Image.fromarray(picture()).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=98, subsampling=0)
    image = read_image(tmp_path, scene("cmyk.jpg")).astype(int)
    assert np.abs(image - picture()).max() <= 12, "an inverted CMYK would be off by 100 and more"


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_scaled_and_not_clipped(tmp_path, suffix):
    values = np.linspace(0, 65535, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)
    Image.fromarray(values).save(tmp_path / f"deep.{suffix}")
    image = read_image(tmp_path, scene(f"deep.{suffix}"))
    assert np.abs(image - (values / 257)[..., None]).max() <= 0.5
    assert (image[..., 0] == image[..., 2]).all()


def test_floats_and_32_bits_are_refused_with_a_remedy(tmp_path):
    Image.fromarray(np.full((HEIGHT, WIDTH), 0.5, np.float32)).save(tmp_path / "f.tif")
    Image.fromarray(np.full((HEIGHT, WIDTH), 1 << 20, np.int32)).save(tmp_path / "i.tif")
    for name in ("f.tif", "i.tif"):
        with pytest.raises(DatasetError, match=rf"{name}: file_name .*; convert it to 8 bits"):
            read_image(tmp_path, scene(name))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    raw = Image.fromarray(picture())
    raw.save(tmp_path / "t.png", exif=tag(orientation))
    upright = np.array(ImageOps.exif_transpose(Image.open(tmp_path / "t.png")))
    size_wh = (upright.shape[1], upright.shape[0])
    assert read_header(tmp_path / "t.png").size_wh == size_wh
    assert (read_image(tmp_path, scene("t.png", size_wh)) == upright).all()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_drawn_on_the_raw_pixels_get_the_raw_pixels(tmp_path, orientation):
    """The recorded size is that of the raw file: turning the pixels would part them from the boxes."""
    Image.fromarray(picture()).save(tmp_path / "t.png", exif=tag(orientation))
    assert (read_image(tmp_path, scene("t.png")) == picture()).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_is_ignored(tmp_path):
    Image.fromarray(picture()).save(
        tmp_path / "t.jpg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff", quality=95
    )
    assert read_image(tmp_path, scene("t.jpg")).shape == (HEIGHT, WIDTH, 3)


def test_another_size_than_recorded_is_named(tmp_path):
    write_image(tmp_path / "a.png", picture())
    with pytest.raises(
        DatasetError, match=r"a\.png: image 5: width/height is 48×32 .* decodes to 24×16; correct"
    ):
        read_image(tmp_path, scene("a.png", (48, 32)))


def test_a_truncated_jpeg_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    write_image(tmp_path / "t.jpg", noise)
    data = (tmp_path / "t.jpg").read_bytes()
    (tmp_path / "t.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(
        DatasetError, match=r"t\.jpg: file_name names a truncated or damaged image .*; replace"
    ):
        read_image(tmp_path, scene("t.jpg", (64, 64)))


@given(st.integers(0, 200), st.binary(min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_damaged_bytes_never_raise_anything_but_a_dataset_error(tmp_path_factory, at, junk):
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "PNG")
    data = buffer.getvalue()
    path = tmp_path_factory.mktemp("damaged") / "d.png"
    path.write_bytes(data[:at] + junk + data[at + len(junk) :])
    try:
        assert read_image(path.parent, scene("d.png")).shape == (HEIGHT, WIDTH, 3)
    except DatasetError as error:
        assert "d.png" in str(error)


def test_a_missing_file_and_a_text_file_are_named(tmp_path):
    (tmp_path / "n.jpg").write_text("no image")
    with pytest.raises(DatasetError, match=r"n\.jpg: file_name can't be opened as an image"):
        read_image(tmp_path, scene("n.jpg"))
    with pytest.raises(DatasetError, match=r"gone\.jpg: file_name names no file; restore"):
        read_image(tmp_path, scene("gone.jpg"))


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a.png", "a/../../b.png", "C:/a.png", "..\\a.png", ".", ""]
)
def test_no_name_leaves_the_root(tmp_path, name):
    with pytest.raises(DatasetError, match=r"file_name .*; write it relative to the image directory"):
        read_image(tmp_path, scene(name))


@given(st.text(max_size=30))
@settings(max_examples=60, deadline=None)
def test_every_accepted_name_stays_below_the_root(name):
    try:
        clean = relative_name(name)
    except ValueError:
        return
    root = Path("/root/of/images")
    assert Path(os.path.normpath(image_path(root, name))).is_relative_to(root)
    assert relative_name(clean) == clean


# --- writing ---


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_png_keeps_every_pixel(tmp_path_factory, width, height, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    folder = tmp_path_factory.mktemp("png")
    write_image(folder / "a.png", image)
    assert (read_image(folder, scene("a.png", (width, height))) == image).all()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG"])
def test_written_images_are_the_same_bytes_without_metadata(tmp_path, name):
    write_image(tmp_path / name, picture())
    first = (tmp_path / name).read_bytes()
    write_image(tmp_path / name, picture()[:, ::-1][:, ::-1])
    assert (tmp_path / name).read_bytes() == first
    assert not Image.open(tmp_path / name).getexif()
    assert np.abs(read_image(tmp_path, scene(name)).astype(int) - picture()).max() <= 3
    assert os.listdir(tmp_path) == [name]


def test_what_is_no_image_is_not_written(tmp_path):
    for path, image in (
        ("a.gif", picture()),
        ("a.png", picture()[..., 0]),
        ("a.png", picture().astype(np.float32)),
    ):
        with pytest.raises(ValueError, match=re.escape(path)):
            write_image(tmp_path / path, image)
    assert not os.listdir(tmp_path)


# --- originals ---


def test_originals_are_linked_copied_or_left_out(tmp_path):
    source = tmp_path / "in/a.png"
    write_image(source, picture())
    assert place_original(source, tmp_path / "out/sub/l.png", "hardlink") == "hardlink"
    assert (tmp_path / "out/sub/l.png").samefile(source)
    assert place_original(source, tmp_path / "out/c.png", "copy") == "copy"
    assert not (tmp_path / "out/c.png").samefile(source)
    assert (tmp_path / "out/c.png").read_bytes() == source.read_bytes()
    assert place_original(source, tmp_path / "out/o.png", "omit") == "omit"
    assert not (tmp_path / "out/o.png").exists()


def test_a_link_that_fails_becomes_a_copy(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    write_image(tmp_path / "a.png", picture())
    assert place_original(tmp_path / "a.png", tmp_path / "b.png", "hardlink") == "copy"


def test_an_existing_file_is_kept_or_refused_but_never_overwritten(tmp_path):
    write_image(tmp_path / "a.png", picture())
    assert place_original(tmp_path / "a.png", tmp_path / "b.png", "copy") == "copy"
    for mode in ("hardlink", "copy"):
        assert place_original(tmp_path / "a.png", tmp_path / "b.png", mode) == "kept"
    (tmp_path / "b.png").write_bytes(b"somebody's work")
    with pytest.raises(
        DatasetError, match=r"b\.png: holds another image than .*a\.png; choose an empty directory"
    ):
        place_original(tmp_path / "a.png", tmp_path / "b.png", "hardlink")
    assert (tmp_path / "b.png").read_bytes() == b"somebody's work"


def test_a_missing_original_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"gone\.png: can't be placed at .*b\.png .*check both paths"):
        place_original(tmp_path / "gone.png", tmp_path / "b.png", "copy")


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("honoured", [True, False])
def test_an_original_with_a_tag_is_baked_as_it_is_read(tmp_path, orientation, honoured):
    source = tmp_path / "t.jpg"
    Image.fromarray(picture()).save(source, exif=tag(orientation), quality=98, subsampling=0)
    before = source.read_bytes()
    turned = orientation >= 5 and honoured
    size_wh = (HEIGHT, WIDTH) if turned else (WIDTH, HEIGHT)
    assert place_original(source, tmp_path / "out/t.jpg", "hardlink", size_wh=size_wh) == "baked"
    baked = Image.open(tmp_path / "out/t.jpg")
    assert not baked.getexif() and baked.format == "JPEG" and baked.size == size_wh
    expected = read_image(tmp_path, scene("t.jpg", size_wh)).astype(int)
    assert np.abs(np.array(baked).astype(int) - expected).max() <= 6
    assert source.read_bytes() == before
    assert place_original(source, tmp_path / "out/t.jpg", "hardlink", size_wh=size_wh) == "baked"


def test_a_cut_original_is_placed_as_it_is(tmp_path):
    write_image(tmp_path / "n.png", picture())
    cut = (tmp_path / "n.png").read_bytes()[:60]
    (tmp_path / "n.png").write_bytes(cut)
    assert place_original(tmp_path / "n.png", tmp_path / "out/n.png", "copy") == "copy"
    assert (tmp_path / "out/n.png").read_bytes() == cut


@pytest.mark.parametrize("mode", ["hardlink", "copy"])
def test_only_pictures_inside_the_root_are_placed(tmp_path, mode):
    root = tmp_path / "in"
    root.mkdir()
    (root / "n.jpg").write_bytes(b"root:x:0:0")
    write_image(tmp_path / "secret.png", picture())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "passwords.png").symlink_to("/etc/passwd")
    (root / "up").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(root / "pipe.png")
    (root / "device.png").symlink_to("/dev/zero")
    (root / "inner.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    names = ["n.jpg", "link.png", "passwords.png", "up/secret.png", "pipe.png", "device.png", "inner.eps"]
    for name in names:
        with pytest.raises(DatasetError, match=name):
            place_original(root / name, tmp_path / "out" / name, mode, root=root)
        with pytest.raises(DatasetError, match=name):
            read_image(root, scene(name))
    assert not (tmp_path / "out").exists()


def test_a_name_as_long_as_file_systems_take_is_written_and_placed(tmp_path):
    name = "é" * 125 + ".png"
    assert len(os.fsencode(name)) == 254
    write_image(tmp_path / name, picture())
    assert place_original(tmp_path / name, tmp_path / "out" / name, "copy") == "copy"
    assert os.listdir(tmp_path / "out") == [name]
    with pytest.raises(DatasetError, match="names no file"):
        read_image(tmp_path, scene("é" * 200 + ".png"))


@pytest.mark.parametrize(
    ("name", "folder"), [("coco_mini/instances.json", "images"), ("taco/instances_photos.json", "images")]
)
def test_real_photographs_decode_to_the_recorded_size(name, folder):
    path = DATA / name
    if not path.exists():
        pytest.skip("the real photographs aren't here")
    dataset = read_dataset(path, images=path.parent / folder)
    for shot in dataset.scenes[::6]:
        assert read_image(dataset, shot).shape == (shot.size_wh[1], shot.size_wh[0], 3)


def test_too_many_open_files_say_nothing_about_an_image(tmp_path: Path) -> None:
    """It would be taken for a damaged one, and left out of the run."""
    import resource

    from augsynth.core.errors import BackendError

    write_image(tmp_path / "a.png", np.zeros((4, 6, 3), np.uint8))
    scene = Scene(1, "a.png", (6, 4))
    assert read_image(tmp_path, scene).shape == (4, 6, 3)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(
            BackendError, match=r"a\.png: can't be opened .*Too many open files.*\(ulimit -n\)"
        ):
            read_image(tmp_path, scene)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
