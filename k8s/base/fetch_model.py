"""Fill the model cache before a worker starts; with the model there it is a short look-up."""

import os

from huggingface_hub import snapshot_download

OTHER_FRAMEWORKS = ["*.onnx", "*.h5", "*.msgpack", "*.ot", "*.gguf", "onnx/*", "openvino/*"]


def main() -> None:
    model = os.environ["RERANKQ_MODEL"]
    if os.path.isdir(model):
        return  # baked into the image, or put on the volume by hand
    revision = os.environ.get("RERANKQ_REVISION") or None
    print(snapshot_download(model, revision=revision, ignore_patterns=OTHER_FRAMEWORKS))


if __name__ == "__main__":
    main()
