"""Which files the distribution holds; pyproject.toml says what it is and needs."""

from setuptools import find_packages, setup

setup(
    packages=find_packages(
        include=[
            f"{room}{below}"
            for room in ("data", "components", "pipeline", "serving")
            for below in ("", ".*")
        ]
    ),
    include_package_data=False,  # nothing but what is named here
    package_data={
        "components": [
            "model/*.txt",
            "nodes/*.pbtxt",
            "pages/*.css",
            "pages/*.html",
            "report/*.css",
            "report/*.html",
        ],
        "pipeline": ["profiles/*.toml", "audit/*.html", "report/*.html", "review/page/*"],
        "serving": ["deploy/*"],
        "serving.asking": ["page/*"],
    },
)
