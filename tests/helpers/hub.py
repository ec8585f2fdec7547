"""A local replacement of the Hugging Face hub."""

import shutil


class FolderHub:
    """A hub that is a folder; `fails` is raised by an upload."""

    def __init__(self, root):
        self.root, self.fails, self.messages, self.private = root, None, [], []

    def __call__(self, token=None):
        return self

    def create_repo(self, name, exist_ok=False, private=None):
        self.private.append(private)
        (self.root / name).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, *, repo_id, folder_path, commit_message=None, allow_patterns=("*",)):
        if self.fails is not None:
            raise self.fails
        for path in (path for pattern in allow_patterns for path in folder_path.glob(pattern)):
            shutil.copy(path, self.root / repo_id)
        self.messages.append(commit_message)
        return f"hub/{repo_id}"
