"""Output files: written aside, and renamed when all of them are whole."""
import contextlib
import os
import pathlib
import shutil

from text.failure import IO, Failure


@contextlib.contextmanager
def replaced(folder, names):
    """Gives a folder to write to. At the end its files take the place of those of these names in `folder`, in this order, and a name
    that was not written is removed there. After an error `folder` is as it was. Inside, an OSError is one of writing: those of reading
    are Failures already."""
    folder = pathlib.Path(folder)
    aside = folder / ".partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
        aside.mkdir()
        yield aside
        for name in names:
            if (aside / name).exists():
                os.replace(aside / name, folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise Failure(IO, f"cannot write to {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
