# SPDX-License-Identifier: Apache-2.0
"""Fewer triangles: software rendering of a robot's meshes as they are shipped costs up to ten times the rest."""

from __future__ import annotations

import mujoco
import numpy as np

from erl_vlm_ros.sim.quaternion import matrix_of

_CELL = 0.012  # m: a pixel of a 128 px image is about 4 mm wide at the scene's distance
_FEW_FACES = 300  # a mesh with fewer stays as it is


def simplify(spec: mujoco.MjSpec, model: mujoco.MjModel) -> None:
    """Merge vertices that share a cell of 12 mm, in every mesh of ``spec``; ``model`` is ``spec`` compiled.

    Afterwards the meshes need no files, so that the spec can be attached to another from anywhere.
    """
    for mesh in list(spec.meshes):
        vertices, faces = whole = mesh_of(model, model.mesh(mesh.name).id)
        if len(faces) > _FEW_FACES:
            vertices, faces = clustered(vertices, faces, _CELL)
        if len(vertices) < 4 or len(faces) < 4:  # smaller than a cell
            vertices, faces = whole
        simple = spec.add_mesh(name=f"{mesh.name}_simple", uservert=vertices.ravel(), userface=faces.ravel())
        simple.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX  # a merged surface may have holes
        for geom in spec.geoms:
            if geom.meshname == mesh.name:
                geom.meshname = simple.name
        spec.delete(mesh)


def mesh_of(model: mujoco.MjModel, mesh: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] m in the frame of the geoms that use the mesh, and faces [F, 3]."""
    first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    turn = matrix_of(model.mesh_quat[mesh])
    # The compiler has moved them into the mesh's own principal axes.
    vertices = model.mesh_vert[first : first + count].astype(float) @ turn.T + model.mesh_pos[mesh]
    first, count = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    return vertices, model.mesh_face[first : first + count].astype(int)


def clustered(vertices: np.ndarray, faces: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertex clustering (Rossignac and Borrel 1993): one vertex, the mean, for all in a cell of ``cell`` m."""
    _, group = np.unique(np.floor(vertices / cell).astype(int), axis=0, return_inverse=True)
    group = group.ravel()
    counts = np.bincount(group)[:, None]
    middles = np.stack([np.bincount(group, weights=column) for column in vertices.T], axis=1) / counts
    merged = group[faces]
    whole = (merged[:, 0] != merged[:, 1]) & (merged[:, 1] != merged[:, 2]) & (merged[:, 2] != merged[:, 0])
    merged = merged[whole]
    _, first = np.unique(np.sort(merged, axis=1), axis=0, return_index=True)
    kept = merged[np.sort(first)]
    used, flat = np.unique(kept, return_inverse=True)
    return middles[used], flat.reshape(-1, 3)
